<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** How a byte stream is cut into packets. It does not change: strip(), batch() and once() return another one. */
final class Framing
{
    /** Offset, adjust and strip are no larger. */
    private const MAX_BYTES = 1 << 30;

    /** @param array<string, mixed> $keys */
    private function __construct(private readonly array $keys)
    {
        // Otherwise mistakes would be found out where the reply is sent, with others, or by the server.
        self::check(json_encode($keys) !== false, 'a framing is sent as JSON: ' . json_last_error_msg());
        $mistake = self::mistake($keys);
        self::check($mistake === null, (string) $mistake);
    }

    /** A packet is everything up to a delimiter, and that. */
    public static function until(string $delimiter, string ...$more): self
    {
        $all = [$delimiter, ...array_values($more)];
        self::check(!in_array('', $all, true), 'a delimiter is at least a byte');
        self::check(array_unique($all) === $all, 'a delimiter is there twice: leave one of them out');
        $name = $more === [] ? 'delimiter' : 'delimiters';
        if (preg_match('/[\x80-\xff]/', implode('', $all)) === 1) { // the server takes text for characters, not bytes
            $name .= '_hex';
            $all = array_map('bin2hex', $all);
        }

        return new self(['framing' => 'delimiter', $name => $more === [] ? $all[0] : $all]);
    }

    /**
     * A packet begins with a binary number that says how long it is.
     *
     * @param int    $bytes  of the number: 1, 2, 3, 4 or 8
     * @param string $endian big or little
     * @param int    $offset bytes before the number
     * @param int    $adjust added to the number; the result is how many bytes follow it
     * @param int    $strip  leading bytes that are not handed over
     */
    public static function length(
        int $bytes,
        string $endian = 'big',
        int $offset = 0,
        int $adjust = 0,
        int $strip = 0,
    ): self {
        self::check(in_array($bytes, [1, 2, 3, 4, 8], true), "a number has 1, 2, 3, 4 or 8 bytes, not $bytes");
        self::check(in_array($endian, ['big', 'little'], true), "the order of bytes is big or little, not $endian");

        return self::lengthField(['bytes' => $bytes, 'endian' => $endian], $offset, $adjust, $strip);
    }

    /** A packet begins with so many decimal digits that say how long it is. The rest is as in length(). */
    public static function lengthInDigits(int $digits, int $offset = 0, int $adjust = 0, int $strip = 0): self
    {
        self::check($digits >= 1 && $digits <= 18, "a number has 1 to 18 digits, not $digits");

        return self::lengthField(['ascii' => $digits], $offset, $adjust, $strip);
    }

    /** A packet begins with digits up to a byte, as in RFC 6587 ("11 hello world"). The rest is as in length(). */
    public static function lengthUntil(string $byte, int $offset = 0, int $adjust = 0, int $strip = 0): self
    {
        $isOne = preg_match('/\A[^0-9a-f]\z/is', $byte) === 1;
        self::check($isOne, 'what ends the digits is one byte, and none of 0 to 9, a to f, A to F');
        $until = ord($byte) < 0x80 ? ['until' => $byte] : ['until_hex' => bin2hex($byte)];

        return self::lengthField(['ascii' => true] + $until, $offset, $adjust, $strip);
    }

    /** The framing of a protocol, by the name that the configuration has for it. */
    public static function protocol(string $name): self
    {
        return new self(['protocol' => $name]);
    }

    /** A packet begins with a varint, as in protobuf and MQTT. The rest is as in length(). */
    public static function lengthInVarint(int $offset = 0, int $adjust = 0, int $strip = 0): self
    {
        return self::lengthField(['varint' => true], $offset, $adjust, $strip);
    }

    /** A packet has so many bytes. */
    public static function fixed(int $bytes): self
    {
        self::check($bytes >= 1, "a packet has at least a byte, not $bytes");

        return new self(['framing' => 'fixed', 'packet_size' => $bytes]);
    }

    /** A packet is whatever has arrived. */
    public static function raw(): self
    {
        return new self(['framing' => 'raw']);
    }

    /**
     * A framing by the keys of the configuration, for those that have no method here.
     *
     * @param array<string, mixed> $keys
     */
    public static function of(array $keys): self
    {
        return new self($keys);
    }

    /** The delimiter is not handed over. For until(); length() and its relatives have an argument strip. */
    public function strip(): self
    {
        return new self(['strip' => true] + $this->keys);
    }

    /** All packets that have arrived are handed over as one. For all but raw(), without strip and once(). */
    public function batch(): self
    {
        return new self(['batch' => true] + $this->keys);
    }

    /** For one packet; then comes the server's own framing. */
    public function once(): self
    {
        return new self(['once' => true] + $this->keys);
    }

    /** @return array<string, mixed> the keys, as the configuration names them */
    public function toArray(): array
    {
        return $this->keys;
    }

    private static function check(bool $isRight, string $mistake): void
    {
        if (!$isRight) {
            throw new \InvalidArgumentException($mistake);
        }
    }

    /**
     * Why the server would refuse the keys.
     *
     * @param array<string, mixed> $keys
     */
    private static function mistake(array $keys): ?string
    {
        $framing = $keys['framing'] ?? (isset($keys['rules']) ? 'rules' : 'delimiter');
        $isStrip = $keys['strip'] ?? false;
        $isBatch = $keys['batch'] ?? false;
        $strips = static fn (mixed $keys): bool => ($keys['strip'] ?? false) || ($keys['length']['strip'] ?? 0) > 0;

        return match (true) {
            $isStrip && in_array($framing, ['length', 'fixed', 'raw', 'rules'], true)
                => "strip() takes a delimiter away, and framing $framing has none; length() has an argument strip",
            $isBatch && ($keys['once'] ?? false) => 'once() is one packet, batch() many: leave one of them out',
            $isBatch && $framing === 'raw' => 'raw() hands over all that has arrived: leave batch() out',
            $isBatch && array_filter([$keys, ...(array) ($keys['rules'] ?? [])], $strips) !== []
                => 'nobody could tell the packets of a batch apart without what strip takes away: leave one out',
            default => null,
        };
    }

    /** @param array<string, mixed> $field */
    private static function lengthField(array $field, int $offset, int $adjust, int $strip): self
    {
        self::check($offset >= 0 && $strip >= 0, 'offset and strip are numbers of bytes, and not negative');
        $isSmall = max($offset, $strip, $adjust) <= self::MAX_BYTES && $adjust >= -self::MAX_BYTES;
        self::check($isSmall, 'offset, adjust and strip are 1 GiB at most');
        $numbers = array_filter(['offset' => $offset, 'adjust' => $adjust, 'strip' => $strip]);

        return new self(['framing' => 'length', 'length' => $field + $numbers]);
    }
}
