<?php

/**
 * A chat: the first line of a client is its name, each further one goes to everybody in its room. /join ROOM and /quit.
 *
 * Who is in a room has its tag, so a line is pushed with one call, from whichever worker has it. Name and room go with
 * the connection as its state.
 */

declare(strict_types=1);

use Rrtcp\Worker\{Event, EventType, Pusher, Reply, Server};

require __DIR__ . '/vendor/autoload.php';

$pusher = Pusher::create();
$say = static fn (string $room, string $line): mixed => $pusher->broadcast("$line\r\n", tag: "room:$room");

/** The reply that moves a client into a room. */
$enter = static function (string $name, string $room, string $greeting = '') use ($say): Reply {
    $say($room, "* $name has come"); // it is not there yet itself

    return Reply::write("{$greeting}This is the $room.\r\n")
        ->withState([$name, $room])
        ->withTags(["user:$name", "room:$room"]);
};

(new Server())->run(static function (Event $event) use ($pusher, $say, $enter): Reply {
    [$name, $room] = $event->stateArray() ?: [null, null];
    $line = $event->body;
    if ($event->type === EventType::Connected) {
        return Reply::write("What is your name?\r\n");
    }
    if ($event->type === EventType::Close) {
        $name !== null && $say($room, "* $name has left");

        return Reply::continue();
    }
    if ($name === null) {
        $isName = preg_match('/^\w{1,20}$/', $line) === 1;

        return $isName ? $enter($line, 'lobby', "Hello, $line. ") : Reply::write("Letters and digits, please.\r\n");
    }
    if (preg_match('#^/join (\w{1,20})$#', $line, $match) === 1) {
        $pusher->tag($event->uuid, remove: ["room:$room"]);
        $say($room, "* $name has left");

        return $enter($name, $match[1]);
    }
    if ($line !== '/quit') {
        $say($room, "<$name> $line"); // who said it has it, too
    }

    return $line === '/quit' ? Reply::writeAndClose("Bye.\r\n") : Reply::continue();
});
