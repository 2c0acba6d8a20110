<?php

/**
 * Says something to everybody in the chat, from outside of it: php announce.php TEXT
 *
 * So can a controller, a job, or a cron: whatever reaches RoadRunner's RPC.
 */

declare(strict_types=1);

use Rrtcp\Worker\Pusher;

if (count($argv) !== 2 || $argv[1] === '') {
    fwrite(STDERR, "want one text, in quotes: php announce.php TEXT\n");
    exit(2);
}

require __DIR__ . '/vendor/autoload.php';

$reached = Pusher::create()->broadcast("*** $argv[1]\r\n", server: 'chat');
echo "$reached->accepted will read it, $reached->full have too much to read\n";
