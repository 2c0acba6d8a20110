<?php

/**
 * A sink for logs: one JSON object in each line. Nothing is answered. logs.rr.yaml hands over all the lines that have
 * arrived at once, so a flood of short lines costs few exchanges.
 */

declare(strict_types=1);

use Spiral\RoadRunner\Tcp\TcpWorker;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

$worker = Worker::create();
$tcpWorker = new TcpWorker($worker);

while ($request = $tcpWorker->waitRequest()) {
    try {
        $levels = [];
        foreach (explode("\n", rtrim($request->body, "\n")) as $line) {
            $entry = json_decode($line, true);
            $level = is_array($entry) ? (string) ($entry['level'] ?? 'none') : 'broken';
            $levels[$level] = ($levels[$level] ?? 0) + 1;
        }
        // Here they would go on to where logs are kept.
        fwrite(STDERR, 'logs ' . json_encode($levels) . "\n");
        $tcpWorker->read();
    } catch (\Throwable $e) {
        $worker->error((string) $e);
    }
}
