<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What all connections come to. */
final class Stats
{
    /**
     * @param array<string, int> $servers     open connections of each server
     * @param int                $tags        in use
     * @param int                $memoryLimit 0: none
     * @param PushCounts         $pushes      since the start
     * @param string             $version     the plugin's
     */
    public function __construct(
        public readonly int $connections,
        public readonly array $servers,
        public readonly int $tags,
        public readonly int $exchangesWaiting,
        public readonly int $bufferedBytes,
        public readonly int $memoryLimit,
        public readonly PushCounts $pushes,
        public readonly string $version = '',
    ) {
    }

    /**
     * @param array<string, mixed> $stats
     *
     * @internal
     */
    public static function fromArray(array $stats): self
    {
        return new self(
            $stats['connections'],
            $stats['servers'] ?? [],
            $stats['tags'],
            $stats['exchanges_waiting'],
            $stats['buffered_bytes'],
            $stats['memory_limit'],
            PushCounts::fromArray($stats['pushes'] ?? []),
            $stats['version'] ?? '',
        );
    }
}
