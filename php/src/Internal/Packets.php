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
    /** @var array<string, mixed> */
    private array $keys;

    private bool $isOnce = false;

    private bool $isDecided = false;

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
        $this->keys = self::known($framing);
        $this->isOnce = $this->keys['once'] ?? false;
    }

    /** A delimiter that may still grow has waited long enough. */
    public function decide(): void
    {
        $this->isDecided = true;
    }

    /**
     * The next packet that has arrived whole, or null.
     *
     * @throws \RangeException where it begins as none of the rules says
     */
    public function next(): ?string
    {
        while (($cut = $this->cut($this->bytes)) !== null) {
            [$length, $packet, $isEmpty] = $cut;
            while (!$isEmpty && ($this->keys['batch'] ?? false)) { // hands over more, as it is on the wire
                $more = $this->cut(substr($this->bytes, $length));
                if ($more === null) {
                    break;
                }
                $length += $more[0];
                $packet .= $more[1];
            }
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
        $keys = $this->chosen($this->bytes);

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
     * @return array<string, mixed>|null
     */
    private function chosen(string $bytes): ?array
    {
        if ($this->keys['framing'] !== 'rules') {
            return $this->keys;
        }
        foreach ($this->keys['rules'] as $rule) {
            $starts = self::bytes($rule, 'starts') ?? '';
            if (str_starts_with($bytes, $starts)) {
                return $rule;
            }
            if (str_starts_with($starts, $bytes)) {
                return null;
            }
        }
        throw new \RangeException('the packet begins as none of the rules says');
    }

    /** @return array{int, string, bool}|null how many bytes it has, what is handed over, whether nothing is */
    private function cut(string $bytes): ?array
    {
        $keys = $bytes === '' ? null : $this->chosen($bytes);
        if ($keys === null) {
            return null;
        }
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
        foreach ($delimiters as $longer) {
            $arrived = substr($bytes, $at);
            if (!$this->isDecided && strlen($longer) > strlen($arrived) && str_starts_with($longer, $arrived)) {
                return null;
            }
        }
        $isEmpty = $at === 0 && ($keys['skip_empty'] ?? false);

        return [$end, substr($bytes, 0, ($keys['strip'] ?? false) ? $at : $end), $isEmpty];
    }

    /**
     * How many bytes the packet has, or null while that has not arrived.
     *
     * @param array<string, mixed> $field
     */
    private static function announced(string $bytes, array $field): ?int
    {
        $at = $field['offset'] ?? 0;
        $until = self::bytes($field, 'until');
        $number = 0;
        if ($field['varint'] ?? false) {
            for ($shift = 0;; $shift += 7) {
                if ($at >= strlen($bytes)) {
                    return null;
                }
                $byte = ord($bytes[$at++]);
                $number |= ($byte & 0x7F) << $shift;
                if ($byte < 0x80) {
                    break;
                }
            }
        } elseif ($until !== null) {
            $end = $at < strlen($bytes) ? strpos($bytes, $until, $at) : false;
            if ($end === false) {
                return null;
            }
            $number = self::number(substr($bytes, $at, $end - $at), ['encoding' => $field['encoding'] ?? 'ascii']);
            $at = $end + 1;
        } else {
            $width = $field['ascii'] ?? $field['bytes'];
            if (strlen($bytes) < $at + $width) {
                return null;
            }
            $number = self::number(substr($bytes, $at, $width), $field);
            $at += $width;
        }

        return $at + $number + ($field['adjust'] ?? 0);
    }

    /** @param array<string, mixed> $field */
    private static function number(string $digits, array $field): int
    {
        return match ($field['encoding'] ?? (isset($field['ascii']) ? 'ascii' : 'binary')) {
            'ascii' => (int) $digits,
            'hex' => (int) hexdec($digits),
            'bcd' => (int) bin2hex($digits),
            default => (int) hexdec(bin2hex(($field['endian'] ?? 'big') === 'little' ? strrev($digits) : $digits))
                & ($field['mask'] ?? -1),
        };
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
