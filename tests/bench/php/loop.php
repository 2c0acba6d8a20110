<?php

/**
 * What RoadRunner is compared with: a server that is one event loop in PHP and sends every packet back.
 *
 *      php loop.php ADDRESS
 *
 * Several processes may listen on the same address: the system shares the connections out among them.
 */

declare(strict_types=1);

$options = stream_context_create(['socket' => ['so_reuseport' => true, 'backlog' => 4096, 'tcp_nodelay' => true]]);
$listener = stream_socket_server(
    "tcp://$argv[1]",
    $code,
    $message,
    STREAM_SERVER_BIND | STREAM_SERVER_LISTEN,
    $options,
);
if ($listener === false) {
    fwrite(STDERR, "$argv[1]: $message\n");
    exit(1);
}
stream_set_blocking($listener, false);
fwrite(STDERR, 'exact listens on tcp://' . stream_socket_get_name($listener, false) . "\n");

$handle = static fn (string $packet): string => $packet;
$sockets = [(int) $listener => $listener];
$received = []; // by socket: the beginning of a packet

while (true) {
    $readable = $sockets;
    $none = null;
    if (stream_select($readable, $none, $none, null) === false) {
        exit(1); // PHP has said why: more than 1,000 connections, for example
    }
    foreach ($readable as $id => $socket) {
        if ($socket === $listener) {
            $connection = @stream_socket_accept($listener, 0);
            if ($connection !== false) {
                stream_set_blocking($connection, false);
                stream_set_read_buffer($connection, 0);
                $sockets[(int) $connection] = $connection;
                $received[(int) $connection] = '';
            }
            continue;
        }

        $bytes = @fread($socket, 64 << 10);
        if ($bytes === '' || $bytes === false) {
            fclose($socket);
            unset($sockets[$id], $received[$id]);
            continue;
        }
        $bytes = $received[$id] . $bytes;
        while (($end = strpos($bytes, "\r\n")) !== false) {
            $reply = $handle(substr($bytes, 0, $end + 2));
            if (@fwrite($socket, $reply) !== strlen($reply)) {
                fwrite(STDERR, "a client does not read its answers\n"); // those of the benchmark do
                exit(1);
            }
            $bytes = substr($bytes, $end + 2);
        }
        $received[$id] = $bytes;
    }
}
