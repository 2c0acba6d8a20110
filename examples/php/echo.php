<?php

/**
 * Sends every packet back; "quit" ends the connection.
 */

declare(strict_types=1);

use Spiral\RoadRunner\Tcp\TcpEvent;
use Spiral\RoadRunner\Tcp\TcpResponse;
use Spiral\RoadRunner\Tcp\TcpWorker;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

/** "127.0.0.1:50124" to "127.0.0.1", "[::1]:50124" to "::1"; a client on a unix socket is "@" and stays so. */
function host(string $remoteAddr): string
{
    return trim(preg_replace('/:\d+$/', '', $remoteAddr), '[]');
}

$denied = ['192.0.2.1', '2001:db8::1'];

$worker = Worker::create();
$tcpWorker = new TcpWorker($worker);

while ($request = $tcpWorker->waitRequest()) {
    try {
        // The reply is chosen here and sent once, below: one event, one reply, CLOSE included.
        [$body, $reply] = match ($request->event) {
            TcpEvent::Connected => in_array(host($request->remoteAddr), $denied, true)
                ? ['', TcpResponse::Close]
                : ['', TcpResponse::Read],
            TcpEvent::Data => rtrim($request->body, "\r\n") === 'quit'
                ? ["bye\r\n", TcpResponse::RespondClose]
                : [$request->body, TcpResponse::Respond],
            TcpEvent::Close => ['', TcpResponse::Read],
        };
    } catch (\Throwable $e) {
        // An error reply: RoadRunner logs it and closes the connection.
        $worker->error((string) $e);
        continue;
    }

    $tcpWorker->respond($body, $reply);
}
