<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Internal;

/**
 * The keys that a framing in a reply may have. The server refuses others, and TestHost can't do what they say.
 *
 * @internal
 */
final class FramingKeys
{
    private const ALL = [...self::RULE, 'protocol', 'delimiter_wait', 'rules', 'batch', 'once'];
    private const RULE = [
        'framing', 'delimiter', 'delimiter_hex', 'delimiters', 'delimiters_hex', 'strip', 'skip_empty', 'length',
        'packet_size',
    ];
    private const LENGTH = [
        'bytes', 'encoding', 'endian', 'mask', 'ascii', 'until', 'until_hex', 'varint', 'offset', 'adjust', 'strip',
    ];

    /**
     * @param array<string, mixed> $keys
     *
     * @throws \InvalidArgumentException
     */
    public static function check(array $keys): void
    {
        self::checkNames($keys, self::ALL);
        self::checkNames($keys['length'] ?? [], self::LENGTH);
        foreach ($keys['rules'] ?? [] as $rule) {
            self::checkNames($rule, [...self::RULE, 'starts', 'starts_hex']);
            self::checkNames($rule['length'] ?? [], self::LENGTH);
        }
    }

    /**
     * @param array<string, mixed> $keys
     * @param list<string>         $names
     */
    private static function checkNames(array $keys, array $names): void
    {
        foreach (array_keys(array_diff_key($keys, array_flip($names))) as $unknown) {
            throw new \InvalidArgumentException("TestHost does not know the key $unknown");
        }
    }
}
