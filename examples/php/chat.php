<?php

/**
 * A chat: the first line of a client is its name, each further one goes to everybody in its room. /join ROOM and /quit.
 *
 * Who is in a room has its tag, so a line is pushed with one call, from whichever worker has it. Name and room go with
 * the connection as its state.
 */

declare(strict_types=1);

use Spiral\Goridge\RPC\RPC;
use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

$rpc = RPC::create(getenv('RR_RPC'));
$worker = Worker::create();

$say = static fn (string $room, string $line): mixed
    => $rpc->call('tcp.Broadcast', ['tag' => "room:$room", 'body' => base64_encode("$line\r\n")]);

/** The reply that moves a client into a room. */
$enter = static function (string $name, string $room) use ($say): array {
    $say($room, "* $name has come"); // it is not there yet itself

    return ['reply' => 'WRITE', 'state' => json_encode([$name, $room]), 'tags' => ["user:$name", "room:$room"]];
};

while ($request = $worker->waitPayload()) {
    try {
        $event = json_decode($request->header, true, 8, JSON_THROW_ON_ERROR);
        [$name, $room] = isset($event['state']) ? json_decode($event['state']) : [null, null];
        $line = $request->body;
        $answer = ['reply' => 'CONTINUE'];
        $text = '';

        if ($event['event'] === 'CONNECTED') {
            $answer['reply'] = 'WRITE';
            $text = 'What is your name?';
        } elseif ($event['event'] === 'CLOSE') {
            if ($name !== null) {
                $say($room, "* $name has left");
            }
        } elseif ($name === null) {
            $isName = preg_match('/^\w{1,20}$/', $line) === 1;
            $answer = $isName ? $enter($line, 'lobby') : ['reply' => 'WRITE'];
            $text = $isName ? "Hello, $line. This is the lobby." : 'Letters and digits, please.';
        } elseif ($line === '/quit') {
            $answer['reply'] = 'WRITECLOSE';
            $text = 'Bye.';
        } elseif (preg_match('#^/join (\w{1,20})$#', $line, $match) === 1) {
            $rpc->call('tcp.Tag', ['uuid' => $event['uuid'], 'remove' => ["room:$room"]]);
            $say($room, "* $name has left");
            $answer = $enter($name, $match[1]);
            $text = "This is $match[1].";
        } else {
            $say($room, "<$name> $line"); // who said it has it, too
        }

        $answer['uuid'] = $event['uuid'];
        $worker->respond(new Payload($text === '' ? '' : "$text\r\n", json_encode($answer, JSON_THROW_ON_ERROR)));
    } catch (\Throwable $e) {
        // An error reply: RoadRunner logs it and closes the connection.
        $worker->error((string) $e);
    }
}
