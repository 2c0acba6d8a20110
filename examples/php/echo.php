<?php

/**
 * Sends every packet back; "quit" ends the connection.
 */

declare(strict_types=1);

use Rrtcp\Worker\Event;
use Rrtcp\Worker\EventType;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\Server;

require __DIR__ . '/vendor/autoload.php';

$denied = ['192.0.2.1', '2001:db8::1'];

(new Server())->run(static fn (Event $event): Reply => match (true) {
    $event->type === EventType::Connected && in_array($event->host, $denied, true) => Reply::close(),
    $event->type !== EventType::Data => Reply::continue(),
    rtrim($event->body, "\r\n") === 'quit' => Reply::writeAndClose("bye\r\n"),
    default => Reply::write($event->body),
});
