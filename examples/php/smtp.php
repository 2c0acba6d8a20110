<?php

/**
 * A small SMTP server (RFC 5321): takes mail from everyone for everyone and logs that it did.
 *
 * A command is a line; the mail itself is one packet, however long it is: the reply to DATA says what ends it. What is
 * known of a conversation goes with the connection as its state, so any number of workers can take turns.
 *
 * TcpWorker's replies are words. Those here say more, so they are written to the worker itself.
 */

declare(strict_types=1);

use Spiral\RoadRunner\Payload;
use Spiral\RoadRunner\Worker;

require __DIR__ . '/vendor/autoload.php';

const MAX_RECIPIENTS = 100;
const END_OF_MAIL = "\r\n.\r\n";

/** One client's conversation: takes a line, gives the line to answer with. */
final class Conversation
{
    /** @param list<string> $to */
    public function __construct(
        private bool $greeted = false,
        private ?string $from = null,
        private array $to = [],
        public bool $inMail = false,
    ) {
    }

    public static function fromState(string $state): self
    {
        return new self(...($state === '' ? [] : json_decode($state, true, 8, JSON_THROW_ON_ERROR)));
    }

    public function state(): string
    {
        return json_encode(get_object_vars($this), JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
    }

    public function command(string $line): string
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

    /** Takes a mail as it came: with the dot that ends it, and one more before each that began a line. */
    public function take(string $mail): string
    {
        $mail = substr($mail, 0, -strlen(".\r\n"));
        $mail = str_replace("\r\n.", "\r\n", $mail);
        if (str_starts_with($mail, '.')) {
            $mail = substr($mail, 1);
        }
        $log = ['from' => $this->from, 'to' => $this->to, 'bytes' => strlen($mail), 'sha256' => hash('sha256', $mail)];
        fwrite(STDERR, 'mail ' . json_encode($log, JSON_INVALID_UTF8_SUBSTITUTE) . "\n");

        return $this->forget('250 OK');
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
        if (count($this->to) === MAX_RECIPIENTS) {
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
        $this->inMail = true;

        return '354 End with <CRLF>.<CRLF>';
    }

    private function forget(string $answer): string
    {
        $this->inMail = false;
        $this->from = null;
        $this->to = [];

        return $answer;
    }
}

$worker = Worker::create();

while ($request = $worker->waitPayload()) {
    try {
        $event = json_decode($request->header, true, 8, JSON_THROW_ON_ERROR);
        // uuid proves that this is the answer to this event, and not to the one before.
        $answer = ['reply' => 'CONTINUE', 'uuid' => $event['uuid']];
        $text = '';

        if ($event['event'] === 'CONNECTED') {
            $answer['reply'] = 'WRITE';
            $text = "220 smtp.example.com ready\r\n";
        } elseif ($event['event'] === 'DATA' && isset($event['eof'])) {
            $answer['reply'] = 'CLOSE'; // half a command or mail is none
        } elseif ($event['event'] === 'DATA') {
            $conversation = Conversation::fromState($event['state'] ?? '');
            $line = $conversation->inMail
                ? $conversation->take($request->body)
                : $conversation->command(substr($request->body, 0, -2));
            $answer['reply'] = str_starts_with($line, '221') ? 'WRITECLOSE' : 'WRITE';
            $answer['state'] = $conversation->state();
            if ($conversation->inMail) {
                $answer['next'] = ['framing' => 'delimiter', 'delimiter' => END_OF_MAIL, 'once' => true];
            }
            $text = "$line\r\n";
        }
        $worker->respond(new Payload($text, json_encode($answer, JSON_THROW_ON_ERROR)));
    } catch (\Throwable $e) {
        // An error reply: RoadRunner logs it and closes the connection.
        $worker->error((string) $e);
    }
}
