<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What a server has done since the start. */
final class Traffic
{
    /**
     * @param int       $packets   handed to workers
     * @param int       $received  bytes
     * @param int       $sent      bytes
     * @param list<int> $exchanges packets by how long a worker had them: up to each of Stats::$exchangeBounds, or more
     */
    public function __construct(
        public readonly int $packets,
        public readonly int $received,
        public readonly int $sent,
        public readonly array $exchanges,
    ) {
    }

    /**
     * @param array<string, mixed> $traffic
     *
     * @internal
     */
    public static function fromArray(array $traffic): self
    {
        return new self($traffic['packets'], $traffic['received'], $traffic['sent'], $traffic['exchanges'] ?? []);
    }
}
