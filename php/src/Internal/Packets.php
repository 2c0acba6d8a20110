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

    /** The next packet that has arrived whole, or null. */
    public function next(): ?string
    {
        $cut = $this->cut($this->bytes);
        if ($cut === null) {
            return null;
        }
        [$length, $packet] = $cut;
        while ($this->keys['batch'] ?? false) { // hands over more, as it is on the wire
            $more = $this->cut(substr($this->bytes, $length));
            if ($more === null) {
                break;
            }
            $length += $more[0];
            $packet .= $more[1];
        }
        $this->bytes = substr($this->bytes, $length);
        if ($this->isOnce) {
            $this->isOnce = false;
            $this->keys = self::known($this->framing);
        }

        return $packet;
    }

    /** What the end of file has left: with delimiters that is a packet, with other framings it is dropped. */
    public function rest(): string
    {
        return $this->keys['framing'] === 'delimiter' ? $this->bytes : '';
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
        $keys['framing'] ??= 'delimiter';
        if (!in_array($keys['framing'], ['delimiter', 'length', 'fixed', 'raw'], true)) {
            throw new \InvalidArgumentException("TestHost does not know the framing {$keys['framing']}");
        }

        return $keys;
    }

    /** @return array{int, string}|null how many bytes the packet has, and what of it is handed over */
    private function cut(string $bytes): ?array
    {
        if ($bytes === '') {
            return null;
        }
        switch ($this->keys['framing']) {
            case 'raw':
                return [strlen($bytes), $bytes];
            case 'fixed':
                $size = $this->keys['packet_size'];

                return strlen($bytes) < $size ? null : [$size, substr($bytes, 0, $size)];
            case 'length':
                $size = $this->announced($bytes, $this->keys['length']);
                if ($size === null || strlen($bytes) < $size) {
                    return null;
                }

                return [$size, substr(substr($bytes, 0, $size), $this->keys['length']['strip'] ?? 0)];
            default:
                return $this->cutByDelimiter($bytes);
        }
    }

    /** @return array{int, string}|null */
    private function cutByDelimiter(string $bytes): ?array
    {
        $first = null;
        foreach ($this->keys['delimiters'] ?? [$this->keys['delimiter'] ?? "\r\n"] as $delimiter) {
            $at = strpos($bytes, $delimiter);
            if ($at !== false && ($first === null || $at < $first[0])) {
                $first = [$at, $at + strlen($delimiter)];
            }
        }
        if ($first === null) {
            return null;
        }
        $isStripped = $this->keys['strip'] ?? false;

        return [$first[1], substr($bytes, 0, $first[$isStripped ? 0 : 1])];
    }

    /**
     * How many bytes the packet has, or null while that has not arrived.
     *
     * @param array<string, mixed> $field
     */
    private function announced(string $bytes, array $field): ?int
    {
        $at = $field['offset'] ?? 0;
        if ($field['varint'] ?? false) {
            for ($number = 0, $shift = 0;; $shift += 7) {
                if ($at === strlen($bytes)) {
                    return null;
                }
                $byte = ord($bytes[$at++]);
                $number |= ($byte & 0x7F) << $shift;
                if ($byte < 0x80) {
                    break;
                }
            }
        } else {
            $width = $field['ascii'] ?? $field['bytes'];
            $digits = substr($bytes, $at, $width);
            if (strlen($digits) < $width) {
                return null;
            }
            $at += $width;
            $isLittle = ($field['endian'] ?? 'big') === 'little';
            $number = (int) (isset($field['ascii']) ? $digits : hexdec(bin2hex($isLittle ? strrev($digits) : $digits)));
        }

        return $at + $number + ($field['adjust'] ?? 0);
    }
}
