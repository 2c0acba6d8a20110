<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** How many connections a broadcast was accepted for, and how many not. */
final class PushCounts
{
    /**
     * @param int $nodes       that have pushed, in a cluster
     * @param int $unreachable nodes that did not answer in time
     */
    public function __construct(
        public readonly int $accepted,
        public readonly int $gone,
        public readonly int $full,
        public readonly int $nodes = 0,
        public readonly int $unreachable = 0,
    ) {
    }

    /**
     * @param array<string, mixed> $counts
     *
     * @internal
     */
    public static function fromArray(array $counts): self
    {
        return new self(
            $counts['accepted'] ?? 0,
            $counts['gone'] ?? 0,
            $counts['full'] ?? 0,
            $counts['nodes'] ?? 0,
            $counts['unreachable'] ?? 0,
        );
    }
}
