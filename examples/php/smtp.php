<?php

/**
 * A small SMTP server (RFC 5321): logs all mail. A command is a line, a mail a packet; the state has the talk.
 */

declare(strict_types=1);

use Rrtcp\Worker\{Event, EventType, Framing, Reply, Server};

require __DIR__ . '/vendor/autoload.php';

/** What ends the packet that follows DATA: a dot alone on a line, be it the first. */
const END = [['starts' => ".\r\n", 'framing' => 'fixed', 'packet_size' => 3], ['delimiter' => "\r\n.\r\n"]];

/** The answer to a command, and what it changes in the conversation. */
function command(string $line, array $talk): array
{
    $verb = strtoupper(strtok($line, ' ') ?: '');
    $hasSender = isset($talk['from']);
    $isEarly = ['MAIL' => !$talk['greeted'] || $hasSender, 'RCPT' => !$hasSender, 'DATA' => $talk['to'] === []];
    $isAddress = preg_match('/^(MAIL FROM|RCPT TO):\s*<([ -;=?-~]{0,256})>/i', $line, $match) === 1; // <> sends bounces
    $hello = $talk['tls'] && $verb === 'EHLO' ? "250-smtp.example.com\r\n250 STARTTLS" : '250 smtp.example.com';
    return match (true) {
        $verb === 'HELO', $verb === 'EHLO' => [$hello, ['greeted' => true, 'from' => null, 'to' => []]],
        $isEarly[$verb] ?? ($verb === 'STARTTLS' && !$talk['tls']) => ['503 Bad sequence of commands', []],
        $verb === 'MAIL' => $isAddress ? ['250 OK', ['from' => $match[2]]] : ['501 Syntax: MAIL FROM:<address>', []],
        $verb === 'RCPT' && count($talk['to']) === 100 => ['452 Too many recipients', []],
        $verb === 'RCPT' && (!$isAddress || $match[2] === '') => ['501 Syntax: RCPT TO:<address>', []],
        $verb === 'RCPT' => ['250 OK', ['to' => [...$talk['to'], $match[2]]]],
        $verb === 'DATA' => ['354 End with <CRLF>.<CRLF>', ['inMail' => true]],
        $verb === 'STARTTLS' => ['220 Go ahead', []],
        $verb === 'VRFY' => ['252 Cannot verify, but will try', []],
        $verb === 'RSET' => ['250 OK', ['from' => null, 'to' => []]],
        default => [['NOOP' => '250 OK', 'QUIT' => '221 Bye'][$verb] ?? '500 Unknown command', []],
    };
}

/** Takes a mail as it came: with the dot that ends it, and one more before each that began a line. */
function take(string $mail, array $talk): array
{
    $mail = preg_replace('/(?:^|(?<=\r\n))\./', '', substr($mail, 0, -strlen(".\r\n")));
    $log = ['from' => $talk['from'], 'to' => $talk['to'], 'bytes' => strlen($mail), 'sha256' => hash('sha256', $mail)];
    fwrite(STDERR, 'mail ' . json_encode($log) . "\n");
    return ['250 OK', ['from' => null, 'to' => [], 'inMail' => false]];
}

(new Server(lastWords: "421 Local error\r\n"))->run(static function (Event $event): Reply {
    if ($event->type !== EventType::Data || $event->eof) { // half a command or mail is none; behind TLS all begins anew
        $greeting = ['CONNECTED' => "220 smtp.example.com ready\r\n", 'SECURED' => ''][$event->type->value] ?? null;
        return $greeting === null ? Reply::close() : Reply::write($greeting)->withState(['tls' => $event->canStartTls]);
    }
    $talk = $event->stateArray() + ['greeted' => false, 'from' => null, 'to' => [], 'inMail' => false];
    [$line, $changes] = $event->truncated ? ['552 Too long', ['from' => null, 'to' => [], 'inMail' => false]]
        : ($talk['inMail'] ? take($event->body, $talk) : command(rtrim($event->body, "\r\n"), $talk));
    $reply = str_starts_with($line, '221') ? Reply::writeAndClose("$line\r\n") : Reply::write("$line\r\n");
    $reply = str_starts_with($line, '220') ? $reply->withTls() : $reply->withState($changes + $talk);
    return $changes['inMail'] ?? false ? $reply->withNext(Framing::of(['rules' => END])->once()) : $reply;
});
