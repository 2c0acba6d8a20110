<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** How many connections a broadcast was accepted for, and how many not. */
final class PushCounts
{
    public function __construct(
        public readonly int $accepted,
        public readonly int $gone,
        public readonly int $full,
    ) {
    }

    /**
     * @param array<string, mixed> $counts
     *
     * @internal
     */
    public static function fromArray(array $counts): self
    {
        return new self($counts['accepted'] ?? 0, $counts['gone'] ?? 0, $counts['full'] ?? 0);
    }
}
