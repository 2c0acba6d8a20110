<?php

/**
 * The echo without the kit: on spiral/roadrunner-tcp 4 alone, for code that has it already.
 *
 * Leave tcp.bulk off for such a worker: it does not know several events in one exchange.
 */

declare(strict_types=1);

use Spiral\RoadRunner\Tcp\TcpEvent;
use Spiral\RoadRunner\Tcp\TcpResponse;
use Spiral\RoadRunner\Tcp\TcpWorker;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

/** "127.0.0.1:50124" to "127.0.0.1", "[::1]:50124" to "::1"; a client on a unix socket is "@" and stays so. */
function host(string $remoteAddress): string
{
    return trim(preg_replace('/:\d+$/', '', $remoteAddress), '[]');
}

$denied = ['192.0.2.1', '2001:db8::1'];
ini_set('display_errors', 'stderr'); // standard output belongs to the protocol
$worker = Worker::create();
$tcpWorker = new TcpWorker($worker);

while ($request = $tcpWorker->waitRequest()) {
    try {
        // The reply is chosen here and sent once, below: one event, one reply, CLOSE included.
        [$body, $reply] = match ($request->getEvent()) {
            TcpEvent::Connected => in_array(host($request->getRemoteAddress()), $denied, true)
                ? ['', TcpResponse::Close]
                : ['', TcpResponse::Read],
            TcpEvent::Data => rtrim($request->getBody(), "\r\n") === 'quit'
                ? ["bye\r\n", TcpResponse::RespondClose]
                : [$request->getBody(), TcpResponse::Respond],
            TcpEvent::Close, TcpEvent::Unknown => ['', TcpResponse::Read],
        };
    } catch (\Throwable $e) {
        // An error reply: RoadRunner logs it and closes the connection.
        $worker->error((string) $e);
        continue;
    }

    $tcpWorker->respond($body, $reply);
}
