<?php

declare(strict_types=1);

/**
 * A worker on the kit. It does what a packet says behind an exclamation mark, and sends back every other one:
 *
 *      !throw          fails
 *      !wrong          returns something that is no reply
 *      !print          prints, and sends the packet back
 *      !slow           takes longer than replies of a bulk wait
 *      !gate FIFO      waits until somebody writes to FIFO
 *      !stream N       answers in N chunks, lines
 *      !endless FILE   answers in chunks without an end; FILE is there when it was left alone
 *      !breaks         fails within a stream
 *      !until BYTES    sends the packet back; from then on these bytes end a packet
 *      !state          tells its state
 *      !push           pushes to its own connection in every way there is, and tells what came of it
 */

require __DIR__ . '/spiral/autoload.php';

use Rrtcp\Worker\Event;
use Rrtcp\Worker\Framing;
use Rrtcp\Worker\Pusher;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\Server;

final class Commands
{
    private ?Pusher $pusher = null;

    public function onConnect(Event $event): Reply
    {
        return Reply::continue()->withTags(['all'])->withState(['host' => $event->host]);
    }

    public function onData(Event $event): mixed
    {
        [$verb, $argument] = explode(' ', rtrim($event->body, "\r\n"), 2) + [1 => ''];

        switch ($verb) {
            case '!throw':
                throw new RuntimeException('thrown in a handler');
            case '!wrong':
                return 'no reply';
            case '!print':
                echo 'printed in a handler';
                break;
            case '!slow':
                usleep(6000);
                break;
            case '!gate':
                fgets(fopen($argument, 'r'));
                break;
            case '!stream':
                return Reply::stream($this->lines((int) $argument));
            case '!endless':
                return Reply::stream($this->endless($argument));
            case '!breaks':
                return Reply::stream($this->breaks());
            case '!until':
                return Reply::write($event->body)->withNext(Framing::until($argument));
            case '!push':
                return Reply::write($this->push($event->uuid) . "\r\n");
            case '!state':
                return Reply::write(json_encode($event->stateArray()) . "\r\n");
        }

        return Reply::write($event->body);
    }

    private function lines(int $count): Generator
    {
        for ($i = 0; $i < $count; $i++) {
            yield "line $i\r\n";
        }
    }

    private function endless(string $file): Generator
    {
        try {
            while (true) {
                yield str_repeat('x', 64 << 10);
            }
        } finally {
            touch($file);
        }
    }

    private function breaks(): Generator
    {
        yield "begin\r\n";
        throw new RuntimeException('thrown in a stream');
    }

    private function push(string $uuid): string
    {
        $pusher = $this->pusher ??= Pusher::create();
        $said = [$pusher->write($uuid, "pushed\r\n")->name, $pusher->write(str_replace('4', '5', $uuid), 'x')->name];
        $said[] = $pusher->tag($uuid, add: ['one'])->name;
        $said[] = $pusher->broadcast("to one\r\n", tag: 'one')->accepted;
        $listed = iterator_to_array($pusher->connections(tag: 'all', pageSize: 1), false);
        $said[] = count($listed);
        foreach ($listed as $connection) {
            if ($connection->uuid === $uuid) {
                $said[] = implode(',', $connection->tags) . " {$connection->phase}";
            }
        }
        $said[] = $pusher->stats()->connections;
        $said[] = array_key_last($pusher->stats(local: true)->traffic);
        try {
            $pusher->write('nobody', 'x');
        } catch (Spiral\Goridge\RPC\Exception\ServiceException $e) {
            $said[] = 'refused';
        }

        return implode(' ', $said);
    }
}

(new Server(lastWords: "sorry\r\n"))->run(new Commands());
