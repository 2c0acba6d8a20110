<?php

declare(strict_types=1);

/**
 * Pushes lines to a connection: php push.php SOCKET UUID COUNT NAME
 *
 * Line I is "NAME I" and up to 990 x, see pushed() in push_test.go.
 */

require __DIR__ . '/rpc.php';

[, $socket, $uuid, $count, $name] = $argv;
$rpc = new Rpc($socket);
for ($i = 0; $i < (int) $count; ++$i) {
    $line = "$name $i " . str_repeat('x', $i % 100 * 10) . "\r\n";
    while (($result = $rpc->call('tcp.Write', ['uuid' => $uuid, 'body' => base64_encode($line)])) === 'full') {
        usleep(1000);
    }
    if ($result !== 'accepted') {
        fwrite(STDERR, "$i: $result\n");
        exit(1);
    }
}
