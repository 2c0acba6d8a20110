<?php

declare(strict_types=1);

namespace Rrtcp\Worker;

/** What all connections come to. */
final class Stats
{
    /**
     * @param array<string, int>     $servers        open connections of each server
     * @param int                    $tags           in use
     * @param int                    $memoryLimit    0: none
     * @param PushCounts             $pushes         since the start
     * @param string                 $version        the plugin's
     * @param array<string, Traffic> $traffic        of each server
     * @param list<float>            $exchangeBounds of Traffic::$exchanges, in seconds
     * @param array<string, Stats>   $nodes          of a cluster: what the sums are of, by the id of the node
     * @param int                    $unreachable    nodes that are missing in the sums
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
        public readonly array $traffic = [],
        public readonly array $exchangeBounds = [],
        public readonly array $nodes = [],
        public readonly int $unreachable = 0,
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
            array_map(Traffic::fromArray(...), $stats['traffic'] ?? []),
            array_map('floatval', $stats['exchange_bounds'] ?? []),
            array_map(self::fromArray(...), $stats['nodes'] ?? []),
            $stats['unreachable'] ?? 0,
        );
    }
}
