<?php

/**
 * A store that speaks Redis' protocol (RESP 2): PING, SET, GET, DEL and QUIT. It ends with the one worker.
 *
 * A DATA has what has arrived: commands, and at the end perhaps a part of one, which waits in the connection's state.
 */

declare(strict_types=1);

use Rrtcp\Worker\{Event, Reply, Server};

require __DIR__ . '/vendor/autoload.php';

/** The commands in what has come, which leave the part of one that is not complete. */
function commands(string &$input): iterable
{
    for (; $input !== ''; $input = substr($input, $at)) {
        preg_match('/^\*(\d{1,3})\r\n/', $input, $array) || throw new UnexpectedValueException('not an array');
        $at = strlen($array[0]);
        for ($words = []; count($words) < $array[1]; $at += strlen("$string[0]\r\n") + $string[1]) {
            if ($at === strlen($input)) { // a string is a packet, and so never a part of one
                return;
            }
            preg_match('/\G\$(\d+)\r\n/', $input, $string, 0, $at) || throw new UnexpectedValueException('no string');
            $words[] = substr($input, $at + strlen($string[0]), (int) $string[1]);
        }
        yield from $words === [] ? [] : [$words];
    }
}

$store = [];
(new Server())->run(static function (Event $event) use (&$store): Reply {
    [$input, $answer] = [base64_decode($event->state) . $event->body, '']; // a state is text, of 64 KiB at most
    try {
        foreach (commands($input) as $words) {
            $command = strtoupper($words[0]) . ' ' . count($words);
            [, $key, $value] = $words + ['', '', ''];
            $old = $store[$key] ?? null;
            if ($command === 'SET 3') {
                $store[$key] = $value;
            } elseif ($command === 'DEL 2') {
                unset($store[$key]);
            }
            $answer .= match ($command) {
                'PING 1' => "+PONG\r\n", 'SET 3', 'QUIT 1' => "+OK\r\n", 'DEL 2' => ':' . (int) isset($old) . "\r\n",
                'GET 2' => $old === null ? "$-1\r\n" : '$' . strlen($old) . "\r\n$old\r\n",
                default => preg_match('/^(PING|SET|GET|DEL|QUIT) \d+$/', $command) === 1
                    ? "-ERR wrong number of arguments\r\n" : "-ERR unknown command\r\n",
            };
            if ($command === 'QUIT 1') {
                return Reply::writeAndClose($answer);
            }
        }
        return Reply::write($answer)->withState(base64_encode($input));
    } catch (UnexpectedValueException | InvalidArgumentException) { // no RESP 2, or a part that is too large
        return Reply::writeAndClose("$answer-ERR Protocol error\r\n");
    }
});
