<?php

/**
 * A store that speaks Redis' protocol (RESP 2): PING, SET, GET, DEL and QUIT. The one worker keeps it, a reset empties
 * it.
 *
 * A DATA has what has arrived: commands, and at the end perhaps a part of one, which waits in the connection's state.
 */

declare(strict_types=1);

use Rrtcp\Worker\{Event, EventType, Reply, Server};

require __DIR__ . '/vendor/autoload.php';

/** The commands in what has come, which leave the part of one that is not complete. */
function commands(string &$input): iterable
{
    while (preg_match('/^\*([1-3])\r\n/', $input, $array) === 1) {
        $at = strlen($array[0]);
        $words = [];
        while (count($words) < $array[1]) {
            $isString = preg_match('/\G\$(\d{1,4})\r\n/', $input, $string, 0, $at) === 1;
            $end = $at + strlen($string[0] ?? '') + ($string[1] ?? 0) + strlen("\r\n");
            if (!$isString || $end > strlen($input)) {
                return;
            }
            $words[] = substr($input, $at + strlen($string[0]), (int) $string[1]);
            $at = $end;
        }
        $input = substr($input, $at);
        yield $words + ['', '', ''];
    }
}

$store = [];
$bulk = static fn (?string $value): string => $value === null ? "$-1\r\n" : '$' . strlen($value) . "\r\n$value\r\n";

(new Server())->run(static function (Event $event) use (&$store, $bulk): Reply {
    $input = base64_decode($event->state) . $event->body; // a state is text
    $answer = '';
    foreach ($event->type === EventType::Data ? commands($input) : [] as [$verb, $key, $value]) {
        $had = isset($store[$key]);
        if (strtoupper($verb) === 'SET') {
            $store[$key] = $value;
        } elseif (strtoupper($verb) === 'DEL') {
            unset($store[$key]);
        }
        $answer .= match (strtoupper($verb)) {
            'PING' => "+PONG\r\n", 'SET', 'QUIT' => "+OK\r\n", 'DEL' => ':' . (int) $had . "\r\n",
            'GET' => $bulk($store[$key] ?? null), default => "-ERR unknown command\r\n",
        };
    }
    if (strtoupper($verb ?? '') === 'QUIT' || $input !== '' && $input[0] !== '*') { // or not RESP 2
        return Reply::writeAndClose($answer ?: "-ERR Protocol error\r\n");
    }
    return Reply::write($answer)->withState(base64_encode($input));
});
