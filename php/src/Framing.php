<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** How a byte stream is cut into packets. It does not change: strip(), batch() and once() return another one. */
final class Framing
{
    /** @param array<string, mixed> $keys */
    private function __construct(private readonly array $keys)
    {
        if (json_encode($keys) === false) { // it would be found out where the reply is sent, with others
            throw new \InvalidArgumentException('a framing is sent as JSON: ' . json_last_error_msg());
        }
    }

    /** A packet is everything up to a delimiter, and that. */
    public static function until(string $delimiter, string ...$more): self
    {
        foreach ([$delimiter, ...$more] as $d) {
            if ($d === '' || preg_match('//u', $d) !== 1) {
                throw new \InvalidArgumentException('a delimiter is at least a byte, and UTF-8');
            }
        }
        $keys = $more === [] ? ['delimiter' => $delimiter] : ['delimiters' => [$delimiter, ...array_values($more)]];

        return new self(['framing' => 'delimiter'] + $keys);
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
        return self::lengthField(['bytes' => $bytes, 'endian' => $endian], $offset, $adjust, $strip);
    }

    /** A packet begins with so many decimal digits that say how long it is. The rest is as in length(). */
    public static function lengthInDigits(int $digits, int $offset = 0, int $adjust = 0, int $strip = 0): self
    {
        return self::lengthField(['ascii' => $digits], $offset, $adjust, $strip);
    }

    /** A packet begins with digits up to a byte, as in RFC 6587 ("11 hello world"). The rest is as in length(). */
    public static function lengthUntil(string $byte, int $offset = 0, int $adjust = 0, int $strip = 0): self
    {
        return self::lengthField(['ascii' => true, 'until' => $byte], $offset, $adjust, $strip);
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

    /** The delimiter is not handed over. */
    public function strip(): self
    {
        return new self(['strip' => true] + $this->keys);
    }

    /** All packets that have arrived are handed over as one. */
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

    /** @param array<string, mixed> $field */
    private static function lengthField(array $field, int $offset, int $adjust, int $strip): self
    {
        $numbers = array_filter(['offset' => $offset, 'adjust' => $adjust, 'strip' => $strip]);

        return new self(['framing' => 'length', 'length' => $field + $numbers]);
    }
}
