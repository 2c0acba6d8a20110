<?php

/**
 * A sink for logs: one JSON object in each line. Nothing is answered. logs.rr.yaml hands over all the lines that have
 * arrived at once, so a flood of short lines costs few exchanges.
 */

declare(strict_types=1);

use Rrtcp\Worker\Event;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\Server;

require __DIR__ . '/vendor/autoload.php';

(new Server())->run(static function (Event $event): Reply {
    $levels = [];
    foreach (explode("\n", rtrim($event->body, "\n")) as $line) {
        $entry = json_decode($line, true);
        $level = is_array($entry) ? (string) ($entry['level'] ?? 'none') : 'broken';
        $levels[$level] = ($levels[$level] ?? 0) + 1;
    }
    // Here they would go on to where logs are kept.
    fwrite(STDERR, 'logs ' . json_encode($levels) . "\n");

    return Reply::continue();
});
