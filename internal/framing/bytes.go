package framing

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bytes in settings are a text, or hexadecimal digits under a key of its own: YAML, JSON and environment variables hold
// characters, and those from U+0080 up are more than one byte.

// BytesOf returns the bytes of a setting: those of digits where there are any, else those of text.
func BytesOf(text, digits string) []byte {
	if digits != "" {
		b, _ := parseHex(digits) // which Init has checked
		return b
	}
	return []byte(text)
}

func allBytesOf(texts, digits []string) (all [][]byte) {
	for _, d := range digits {
		all = append(all, BytesOf("", d))
	}
	for _, t := range texts {
		all = append(all, BytesOf(t, ""))
	}
	return all
}

// parseHex reads two digits for each byte. Blanks may stand between bytes.
func parseHex(digits string) ([]byte, error) {
	var b []byte
	for _, group := range strings.Split(digits, " ") {
		decoded, err := hex.DecodeString(group)
		if err != nil || group == "" {
			return nil, fmt.Errorf(`%q can't be read; want two hexadecimal digits for each byte, such as "7e" or "0d 0a"`, digits)
		}
		b = append(b, decoded...)
	}
	return b, nil
}

// orHex returns the key under which bytes are set.
func orHex(name string, isHex bool) string {
	if isHex {
		return name + "_hex"
	}
	return name
}

// CheckBytes checks a setting that is a text or, under the key name_hex, digits.
func CheckBytes(fail Failer, name, text, digits string) {
	switch {
	case text != "" && digits != "":
		fail(name+"_hex", "stands beside %s; want one of the two", name[strings.LastIndex(name, ".")+1:])
	case digits != "":
		if _, err := parseHex(digits); err != nil {
			fail(name+"_hex", "%s", err)
		}
	default:
		checkText(fail, name, text)
	}
}

// checkText refuses characters from U+0080 to U+00FF. Somebody who writes "\xff" means a byte and gets two.
func checkText(fail Failer, name, text string) {
	if !hasLatin1(text) {
		return
	}
	var meant []byte
	for _, r := range text {
		if isLatin1(r) {
			meant = append(meant, byte(r))
		} else {
			meant = utf8.AppendRune(meant, r)
		}
	}
	key := name[strings.LastIndex(name, ".")+1:] + "_hex"
	fail(name, `%+q is the bytes %x: a text holds characters, not bytes; for the bytes %[3]x write %[4]s: "%[3]x", for the characters %[4]s: "%[2]x"`,
		text, text, meant, key)
}

// hasLatin1 reports whether checkText refuses text. What is not UTF-8 comes from YAML's !!binary and is what it says.
func hasLatin1(text string) bool {
	return utf8.ValidString(text) && strings.ContainsFunc(text, isLatin1)
}

func isLatin1(r rune) bool { return r >= 0x80 && r <= 0xff }

// Texts calls f for each text of p whose bytes matter, with its key.
func (p *Packets) Texts(f func(name, text string)) {
	f("delimiter", p.Delimiter)
	for _, d := range p.Delimiters {
		f("delimiters", d)
	}
	if p.Length != nil {
		f("length.until", p.Length.Until)
	}
	for i, r := range p.Rules {
		f(fmt.Sprintf("rules.%d.starts", i), r.Starts)
		packets := r.Packets()
		packets.Texts(func(name, text string) { f(fmt.Sprintf("rules.%d.%s", i, name), text) })
	}
}
