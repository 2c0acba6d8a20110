<?php

/**
 * A small SMTP server (RFC 5321): takes mail from everyone for everyone and logs that it did.
 *
 * A conversation is kept in this process's memory, so this process must see all of it: smtp.rr.yaml runs one worker.
 * With more of them the next line of the same client may reach another worker; keep the conversation somewhere
 * they share, under the connection's uuid.
 */

declare(strict_types=1);

use Spiral\RoadRunner\Tcp\TcpEvent;
use Spiral\RoadRunner\Tcp\TcpResponse;
use Spiral\RoadRunner\Tcp\TcpWorker;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

/** One client's conversation: takes a line, gives the line to answer with. */
final class Conversation
{
    private const MAX_MESSAGE_BYTES = 10 * 1024 * 1024;
    private const MAX_RECIPIENTS = 100;

    private bool $greeted = false;
    private bool $inMessage = false;
    private ?string $from = null;
    /** @var list<string> */
    private array $to = [];
    private string $message = '';
    private bool $tooBig = false;

    /** Null: the client is not owed an answer yet. */
    public function line(string $line): ?string
    {
        return $this->inMessage ? $this->messageLine($line) : $this->command($line);
    }

    private function command(string $line): string
    {
        $verb = strtoupper(strtok($line, ' ') ?: '');

        return match ($verb) {
            'HELO', 'EHLO' => $this->hello(),
            'MAIL' => $this->mail($line),
            'RCPT' => $this->recipient($line),
            'DATA' => $this->data(),
            'RSET' => $this->forget('250 OK'),
            'NOOP' => '250 OK',
            'QUIT' => '221 Bye',
            default => '500 Unknown command',
        };
    }

    private function hello(): string
    {
        $this->greeted = true;

        return $this->forget('250 smtp.example.com');
    }

    private function mail(string $line): string
    {
        if (!$this->greeted || $this->from !== null) {
            return '503 Bad sequence of commands';
        }
        // The empty path <> is a sender, too: that of a bounce.
        if (!preg_match('/^MAIL FROM:\s*<([^<>]*)>/i', $line, $match)) {
            return '501 Syntax: MAIL FROM:<address>';
        }
        $this->from = $match[1];

        return '250 OK';
    }

    private function recipient(string $line): string
    {
        if ($this->from === null) {
            return '503 Bad sequence of commands';
        }
        if (!preg_match('/^RCPT TO:\s*<([^<>]+)>/i', $line, $match)) {
            return '501 Syntax: RCPT TO:<address>';
        }
        if (count($this->to) === self::MAX_RECIPIENTS) {
            return '452 Too many recipients';
        }
        $this->to[] = $match[1];

        return '250 OK';
    }

    private function data(): string
    {
        if ($this->to === []) {
            return '503 Bad sequence of commands';
        }
        $this->inMessage = true;

        return '354 End with <CRLF>.<CRLF>';
    }

    private function messageLine(string $line): ?string
    {
        if ($line === '.') {
            return $this->endOfMessage();
        }
        // A line of the message that begins with a dot comes with a second one.
        if (str_starts_with($line, '.')) {
            $line = substr($line, 1);
        }
        if (strlen($this->message) + strlen($line) + 2 > self::MAX_MESSAGE_BYTES) {
            $this->tooBig = true;
            $this->message = '';
        }
        if (!$this->tooBig) {
            $this->message .= $line . "\r\n";
        }

        return null;
    }

    private function endOfMessage(): string
    {
        if ($this->tooBig) {
            return $this->forget('552 Message too big');
        }
        $log = ['from' => $this->from, 'to' => $this->to, 'bytes' => strlen($this->message)];
        fwrite(STDERR, 'mail ' . json_encode($log, JSON_INVALID_UTF8_SUBSTITUTE) . "\n");

        return $this->forget('250 OK');
    }

    private function forget(string $answer): string
    {
        $this->inMessage = false;
        $this->from = null;
        $this->to = [];
        $this->message = '';
        $this->tooBig = false;

        return $answer;
    }
}

/** @var array<string, Conversation> $conversations by the connection's uuid */
$conversations = [];

$worker = Worker::create();
$tcpWorker = new TcpWorker($worker);

while ($request = $tcpWorker->waitRequest()) {
    $uuid = $request->connectionUuid;

    try {
        switch ($request->event) {
            case TcpEvent::Connected:
                $conversations[$uuid] = new Conversation();
                $tcpWorker->respond("220 smtp.example.com ready\r\n");
                break;

            case TcpEvent::Data:
                if (!isset($conversations[$uuid])) {
                    // The connection outlived the worker that knew it.
                    $tcpWorker->respond("421 Try again later\r\n", TcpResponse::RespondClose);
                    break;
                }
                if (!str_ends_with($request->body, "\r\n")) {
                    // The client has stopped in the middle of a line: half a command is none.
                    $tcpWorker->close();
                    break;
                }
                $answer = $conversations[$uuid]->line(substr($request->body, 0, -2));
                if ($answer === null) {
                    $tcpWorker->read();
                } elseif (str_starts_with($answer, '221')) {
                    $tcpWorker->respond("$answer\r\n", TcpResponse::RespondClose);
                } else {
                    $tcpWorker->respond("$answer\r\n");
                }
                break;

            case TcpEvent::Close:
                unset($conversations[$uuid]);
                $tcpWorker->read(); // CLOSE wants its reply, too; any will do
                break;
        }
    } catch (\Throwable $e) {
        // An error reply: RoadRunner logs it and closes the connection.
        $worker->error((string) $e);
    }
}
