<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Internal;

use Rrtcp\Worker\Framing;

/**
 * Cuts bytes into packets as the server does, for TestHost.
 *
 * @internal
 */
final class Packets
{
    /** A number that a byte ends has so many digits at most. */
    private const MAX_DIGITS = 10;

    /** No packet has more bytes: with offset and adjust they are still an int. */
    private const MAX_NUMBER = PHP_INT_MAX - (4 << 30);

    /** @var array<string, mixed> */
    private array $keys;

    private bool $isOnce = false;

    private bool $isDecided = false;

    private bool $isEnded = false;

    private string $bytes = '';

    public function __construct(private readonly Framing $framing)
    {
        $this->keys = self::known($framing);
    }

    public function add(string $bytes): void
    {
        $this->bytes .= $bytes;
    }

    /** What has arrived is dropped. */
    public function drop(): void
    {
        $this->bytes = '';
    }

    /** What comes is cut in another way. */
    public function change(Framing $framing): void
    {
        FramingKeys::check($framing->toArray());
        $this->keys = self::known($framing);
        $this->isOnce = $this->keys['once'] ?? false;
    }

    /** A delimiter that may still grow has waited long enough. */
    public function decide(): void
    {
        $this->isDecided = true;
    }

    /** No more come. */
    public function end(): void
    {
        $this->isEnded = true;
    }

    /**
     * The next packet that has arrived whole, or null.
     *
     * @throws \RangeException  where it begins as none of the rules says
     * @throws \LengthException where it announces a length that can't be
     */
    public function next(): ?string
    {
        while (($first = $this->first()) !== null) {
            [$length, $packet, $isEmpty] = $first;
            $this->bytes = substr($this->bytes, $length);
            if ($isEmpty) {
                continue;
            }
            if ($this->isOnce) {
                $this->isOnce = false;
                $this->keys = self::known($this->framing);
            }

            return $packet;
        }
        $this->isDecided = false;

        return null;
    }

    /** What the end of file has left: with delimiters that is a packet, with other framings it is dropped. */
    public function rest(): string
    {
        $keys = $this->chosen($this->bytes, true);

        return ($keys['framing'] ?? 'delimiter') === 'delimiter' && $keys !== null ? $this->bytes : '';
    }

    /** How many bytes were not handed over. */
    public function unfinished(): int
    {
        return strlen($this->bytes);
    }

    /** @return array<string, mixed> */
    private static function known(Framing $framing): array
    {
        $keys = $framing->toArray();
        $keys['framing'] ??= isset($keys['rules']) ? 'rules' : 'delimiter';
        if (isset($keys['protocol'])) {
            throw new \InvalidArgumentException('TestHost does not know protocols by name: give it their framing');
        }
        if (!in_array($keys['framing'], ['delimiter', 'length', 'fixed', 'raw', 'rules'], true)) {
            throw new \InvalidArgumentException("TestHost does not know the framing {$keys['framing']}");
        }

        return $keys;
    }

    /**
     * The framing of the packet that the bytes begin with: with rules that of the first which fits; null: more decide.
     *
     * @param bool $isAll no more come: what is too short for one rule may fit another
     *
     * @return array<string, mixed>|null
     */
    private function chosen(string $bytes, bool $isAll): ?array
    {
        if ($this->keys['framing'] !== 'rules') {
            return $this->keys;
        }
        $mayFit = false;
        foreach ($this->keys['rules'] as $rule) {
            $starts = self::bytes($rule, 'starts') ?? '';
            if (str_starts_with($bytes, $starts)) {
                return $rule;
            }
            $mayFit = $mayFit || str_starts_with($starts, $bytes);
            if ($mayFit && !$isAll) {
                return null;
            }
        }
        if ($mayFit) {
            return null;
        }
        throw new \RangeException('the packet begins as none of the rules says');
    }

    /**
     * What comes next: a packet, or with batch as many as have arrived whole.
     *
     * @return array{int, string, bool}|null as cut() has it
     */
    private function first(): ?array
    {
        $first = $this->cut($this->bytes);
        if ($first === null && $this->isEnded) {
            return $this->cut($this->bytes, true);
        }
        while ($first !== null && !$first[2] && ($this->keys['batch'] ?? false)) { // as it is on the wire
            try {
                $more = $this->cut(substr($this->bytes, $first[0]));
            } catch (\RangeException | \LengthException) {
                break; // it is met again when its packet comes first
            }
            if ($more === null) {
                break;
            }
            $first = [$first[0] + $more[0], $first[1] . $more[1], false];
        }

        return $first;
    }

    /** @return array{int, string, bool}|null how many bytes it has, what is handed over, whether nothing is */
    private function cut(string $bytes, bool $isAll = false): ?array
    {
        $keys = $bytes === '' ? null : $this->chosen($bytes, $isAll);
        $cut = $keys === null ? null : $this->cutBy($keys, $bytes);
        if ($cut !== null && $cut[0] === 0) {
            throw new \InvalidArgumentException('the framing has packets of no bytes: the server refuses it');
        }

        return $cut;
    }

    /**
     * @param array<string, mixed> $keys
     *
     * @return array{int, string, bool}|null
     */
    private function cutBy(array $keys, string $bytes): ?array
    {
        switch ($keys['framing'] ?? 'delimiter') {
            case 'raw':
                return [strlen($bytes), $bytes, false];
            case 'fixed':
                $size = $keys['packet_size'];

                return strlen($bytes) < $size ? null : [$size, substr($bytes, 0, $size), false];
            case 'length':
                $size = self::announced($bytes, $keys['length']);
                if ($size === null || strlen($bytes) < $size) {
                    return null;
                }

                return [$size, substr(substr($bytes, 0, $size), $keys['length']['strip'] ?? 0), false];
            default:
                return $this->cutByDelimiter($bytes, $keys);
        }
    }

    /**
     * @param array<string, mixed> $keys
     *
     * @return array{int, string, bool}|null
     */
    private function cutByDelimiter(string $bytes, array $keys): ?array
    {
        $delimiters = $keys['delimiters'] ?? array_map(self::fromHex(...), $keys['delimiters_hex'] ?? []);
        $delimiters = $delimiters ?: [self::bytes($keys, 'delimiter') ?? "\r\n"];
        $first = null;
        foreach ($delimiters as $delimiter) { // the one that begins first, of those that begin there the longest
            $at = strpos($bytes, $delimiter);
            $end = $at + strlen($delimiter);
            if ($at !== false && ($first === null || $at < $first[0] || $at === $first[0] && $end > $first[1])) {
                $first = [$at, $end];
            }
        }
        if ($first === null) {
            return null;
        }
        [$at, $end] = $first;
        $waits = strpbrk($this->keys['delimiter_wait'] ?? '20ms', '123456789') !== false;
        if ($waits && !$this->isDecided && self::mayBecomeAnother($bytes, $at, $delimiters)) {
            return null;
        }
        $isEmpty = $at === 0 && ($keys['skip_empty'] ?? false);

        return [$end, substr($bytes, 0, ($keys['strip'] ?? false) ? $at : $end), $isEmpty];
    }

    /**
     * Whether the bytes end with a part of a delimiter that begins at $at or before.
     *
     * @param list<string> $delimiters
     */
    private static function mayBecomeAnother(string $bytes, int $at, array $delimiters): bool
    {
        foreach ($delimiters as $longer) {
            for ($from = max(0, strlen($bytes) - strlen($longer) + 1); $from <= $at; $from++) {
                if (str_starts_with($longer, substr($bytes, $from))) {
                    return true;
                }
            }
        }

        return false;
    }

    /**
     * How many bytes the packet has, or null while that has not arrived.
     *
     * @param array<string, mixed> $field
     */
    private static function announced(string $bytes, array $field): ?int
    {
        $offset = $field['offset'] ?? 0;
        $read = self::number(substr($bytes, $offset), $field);
        if ($read === null) {
            return null;
        }
        [$number, $width] = $read;
        if ($number < 0 || $number > self::MAX_NUMBER) {
            throw new \LengthException('the packet announces more bytes than there are');
        }
        $head = $offset + $width;
        $size = $head + (int) $number + ($field['adjust'] ?? 0);
        if ($size < $head || $size < ($field['strip'] ?? 0)) {
            throw new \LengthException('the packet announces fewer bytes than it has already');
        }

        return $size;
    }

    /**
     * The number that the bytes begin with, and how many bytes it has; null while they are not there.
     *
     * @param array<string, mixed> $field
     *
     * @return array{int|float, int}|null
     */
    private static function number(string $bytes, array $field): ?array
    {
        $until = self::bytes($field, 'until');
        $encoding = $field['encoding'] ?? (isset($field['ascii']) || $until !== null ? 'ascii' : 'binary');
        if ($field['varint'] ?? false) {
            return self::varint($bytes);
        }
        if ($until !== null) {
            return self::digitsUntil($until, $bytes, $encoding);
        }
        $width = $field['ascii'] ?? $field['bytes'];
        $isWhole = strlen($bytes) >= $width;
        $bytes = substr($bytes, 0, $width);
        if ($encoding === 'binary') {
            $bytes = ($field['endian'] ?? 'big') === 'little' ? strrev($bytes) : $bytes;
            $number = unpack('J', str_pad($bytes, 8, "\0", STR_PAD_LEFT))[1] & ($field['mask'] ?? -1);

            return $isWhole ? [$number, $width] : null;
        }
        $text = $encoding === 'bcd' ? bin2hex($bytes) : $bytes;
        if (self::countDigits($text, $encoding) < strlen($text)) {
            throw new \LengthException('the packet announces no number');
        }

        return $isWhole ? [self::value($text, $encoding), $width] : null;
    }

    /** @return array{int|float, int}|null */
    private static function digitsUntil(string $until, string $bytes, string $encoding): ?array
    {
        $count = self::countDigits($bytes, $encoding);
        $isEnded = $count < strlen($bytes);
        if ($count > self::MAX_DIGITS || $isEnded && ($count === 0 || $bytes[$count] !== $until)) {
            throw new \LengthException('the packet announces no number');
        }

        return $isEnded ? [self::value(substr($bytes, 0, $count), $encoding), $count + 1] : null;
    }

    /** How many digits the bytes begin with. */
    private static function countDigits(string $bytes, string $encoding): int
    {
        return strspn($bytes, '0123456789' . ($encoding === 'hex' ? 'abcdefABCDEF' : ''));
    }

    private static function value(string $digits, string $encoding): int|float
    {
        return $encoding === 'hex' ? hexdec($digits) : (int) $digits;
    }

    /** @return array{int, int}|null */
    private static function varint(string $bytes): ?array
    {
        $number = 0;
        for ($i = 0; $i < strlen($bytes); $i++) {
            $byte = ord($bytes[$i]);
            if ($i === 9 && $byte > 0) {
                throw new \LengthException('the packet announces a number of more than 63 bits');
            }
            $number |= ($byte & 0x7F) << 7 * $i;
            if ($byte < 0x80) {
                return [$number, $i + 1];
            }
        }

        return null;
    }

    /**
     * The bytes of a key, or of its relative in hexadecimal digits.
     *
     * @param array<string, mixed> $keys
     */
    private static function bytes(array $keys, string $name): ?string
    {
        return $keys[$name] ?? (isset($keys["{$name}_hex"]) ? self::fromHex($keys["{$name}_hex"]) : null);
    }

    private static function fromHex(string $digits): string
    {
        return (string) hex2bin(str_replace(' ', '', $digits));
    }
}
