<?php

/**
 * Says something to everybody in the chat, from outside of it: php announce.php TEXT
 *
 * So can a controller, a job, or a cron: whatever reaches RoadRunner's RPC.
 */

declare(strict_types=1);

use Spiral\Goridge\RPC\RPC;

require __DIR__ . '/vendor/autoload.php';

$rpc = RPC::create(getenv('RR_RPC') ?: 'tcp://127.0.0.1:6001');
$reached = $rpc->call('tcp.Broadcast', ['server' => 'chat', 'body' => base64_encode("*** $argv[1]\r\n")]);
printf("%d will read it, %d have too much to read\n", $reached['accepted'], $reached['full']);
