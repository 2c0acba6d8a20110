<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Event;
use Rrtcp\Worker\EventType;
use Rrtcp\Worker\Framing;
use Rrtcp\Worker\Reason;
use Rrtcp\Worker\Reply;
use Rrtcp\Worker\TestHost;

final class TestHostTest extends TestCase
{
    public function testAConversation(): void
    {
        $host = new TestHost(static fn (Event $e): Reply => match (true) {
            $e->type === EventType::Connected
                => Reply::write("hello {$e->host}\r\n")->withTags(['new'])->withState('0'),
            $e->body === "quit\r\n" => Reply::writeAndClose('bye'),
            $e->eof => Reply::write("half: {$e->body}"),
            default => Reply::write("{$e->state} {$e->body}")->withState((string) ((int) $e->state + 1)),
        });
        $client = $host->connect('[2001:db8::1]:7');
        self::assertSame("hello 2001:db8::1\r\n", $client->received());
        self::assertSame('', $client->send('on')->received());
        self::assertSame("0 one\r\n1 two\r\n", $client->send("e\r\ntwo\r\nthr")->received());
        self::assertSame(['2', ['new'], true], [$client->state(), $client->tags(), $client->isOpen()]);
        self::assertSame("2 three\r\nbye", $client->send("ee\r\nquit\r\nnever seen\r\n")->received());
        self::assertSame(Reason::Worker, $client->reason());
        $types = array_map(static fn (Event $e): EventType => $e->type, $client->events());
        $data = EventType::Data;
        self::assertSame([EventType::Connected, $data, $data, $data, $data, EventType::Close], $types);
        self::assertSame('3', $client->events()[5]->state);
        self::assertCount(6, $client->replies());

        $tail = $host->connect()->send('tail')->endOfFile();
        self::assertSame("hello 192.0.2.1\r\nhalf: tail", $tail->received());
        $last = $tail->events()[2];
        self::assertSame([Reason::Eof, 0, 4], [$tail->reason(), $last->unfinished, $last->bytesRead]);

        $idle = $host->connect();
        $host->stop();
        self::assertSame(Reason::Shutdown, $idle->reason());
        $this->expectException(\LogicException::class);
        $idle->send('x');
    }

    public function testNextChangesTheFraming(): void
    {
        $host = new TestHost(static fn (Event $e): Reply => match ($e->body) {
            'MAIL' => Reply::write('go')->withNext(Framing::until("\n.\n")->once()),
            default => Reply::write("<{$e->body}>"),
        }, Framing::until("\n")->strip());
        $client = $host->connect();
        $client->received();
        self::assertSame("go<a\nb\n.\n><c>", $client->send("MAIL\na\nb\n.\nc\n")->received());
    }

    public function testTlsDropsWhatCameInPlainText(): void
    {
        $handler = new class () {
            public function onData(Event $event): Reply
            {
                return $event->body === 'STARTTLS' ? Reply::write('go ')->withTls() : Reply::write("<{$event->body}>");
            }

            public function onSecure(Event $event): Reply
            {
                return Reply::write("tls {$event->tls['version']} ");
            }
        };
        $client = (new TestHost($handler, Framing::until("\n")->strip()))->connect('192.0.2.1:5', ['starttls' => true]);
        self::assertTrue($client->events()[0]->canStartTls);
        self::assertSame('go tls 1.3 ', $client->send("STARTTLS\nMAIL\nhalf")->received());
        self::assertSame('<EHLO>', $client->send("EHLO\n")->received());
        $types = array_map(static fn (Event $e): string => $e->type->value, $client->events());
        self::assertSame(['CONNECTED', 'DATA', 'SECURED', 'DATA'], $types);
    }

    public function testTlsIsOnceAndOnlyWhereTheServerOffersIt(): void
    {
        $handler = static fn (Event $e): Reply => match ($e->body) {
            'TLS' => Reply::write('go ')->withState('tls')->withTls(),
            'QUIT' => Reply::writeAndClose('bye ')->withTls(),
            default => Reply::continue(),
        };
        $host = new TestHost($handler, Framing::until("\n")->strip());
        $plain = $host->connect()->send("TLS\n");
        self::assertSame(['', '', Reason::Reply], [$plain->received(), $plain->state(), $plain->reason()]);
        self::assertSame(Reason::Worker, $host->connect()->send("QUIT\n")->reason(), 'the end needs no TLS');
        $twice = $host->connect(context: ['starttls' => true])->send("TLS\n")->send("TLS\n");
        self::assertSame(['go ', Reason::Reply], [$twice->received(), $twice->reason()]);
        $gone = $host->connect(context: ['starttls' => true])->send('TLS')->endOfFile();
        self::assertSame(['go ', Reason::Handshake], [$gone->received(), $gone->reason()], 'nobody answers any more');
    }

    public function testOnlyTheEndOfFileCutsAPacketOff(): void
    {
        $host = new TestHost(static fn (): Reply => Reply::continue(), Framing::fixed(2));
        foreach ([[Reason::Eof, 1], [Reason::Reset, 0], [Reason::Idle, 0]] as [$reason, $unfinished]) {
            $client = $host->connect()->send('abc');
            $client->end($reason);
            self::assertSame($unfinished, $client->events()[2]->unfinished);
        }
    }

    public function testTheEndOfFileDecidesBetweenRules(): void
    {
        $line = ['delimiter' => "\n", 'skip_empty' => true];
        $packets = [
            [['framing' => 'fixed', 'packet_size' => 1], '<', ['<']],
            [['framing' => 'fixed', 'packet_size' => 2], '<', []],
            [['framing' => 'length', 'length' => ['until' => '>']], '<', []],
            [$line, "a\n<", ["a\n", 'the tail <']],
            [$line, "a\n\n", ["a\n"]],
            [['framing' => 'fixed', 'packet_size' => 1], '(ab', ['(', 'ab']],
        ];
        foreach ($packets as [$rule, $bytes, $want]) {
            $starts = static fn (string $bytes): array => ['starts' => $bytes, 'framing' => 'raw'];
            $rules = [...array_map($starts, ['<<', "\n\n", '(abc']), $rule];
            $framing = Framing::of(['rules' => $rules, 'batch' => true]);
            $client = (new TestHost(static fn (): Reply => Reply::continue(), $framing))->connect();
            $client->send($bytes)->endOfFile();
            $data = array_slice($client->events(), 1, -1);
            $have = array_map(static fn (Event $e): string => ($e->eof ? 'the tail ' : '') . $e->body, $data);
            self::assertSame($want, $have, $bytes);
        }
    }

    public function testFailuresAreTheTests(): void
    {
        $fails = static fn (Event $e): Reply => $e->type === EventType::Data
            ? throw new \DomainException('here')
            : Reply::continue();
        $host = new TestHost($fails, lastWords: 'sorry');
        $client = $host->connect();
        self::assertSame('sorry', $client->send("x\r\n")->received());
        self::assertSame(Reason::Worker, $client->reason());
        self::assertSame('here', $host->errors()[0]->getMessage());

        $this->expectException(\DomainException::class);
        (new TestHost($fails))->connect()->send("x\r\n");
    }

    public function testStreamsArriveWhole(): void
    {
        $client = (new TestHost(static fn (): Reply => Reply::stream(['a', 'b'], close: true)))->connect();
        self::assertSame('ab', $client->received());
        self::assertFalse($client->isOpen());

        $breaks = static function (): iterable {
            yield 'a';
            throw new \DomainException('disk');
        };
        $client = (new TestHost(static fn (): Reply => Reply::stream($breaks()), lastWords: '!'))->connect();
        self::assertSame('a!', $client->received());
        self::assertFalse($client->isOpen());
    }

    /**
     * @param list<string> $packets
     *
     * @dataProvider framings
     */
    public function testPacketsAreTheSameHoweverTheBytesAreCut(Framing $framing, string $bytes, array $packets): void
    {
        for ($size = 1; $size <= strlen($bytes); $size++) {
            $client = (new TestHost(static fn (): Reply => Reply::continue(), $framing))->connect();
            foreach (str_split($bytes, $size) as $part) {
                $client->send($part);
            }
            $client->endOfFile();
            $data = array_filter($client->events(), static fn (Event $e): bool => $e->type === EventType::Data);
            self::assertSame($packets, array_values(array_map(static fn (Event $e): string => $e->body, $data)));
        }
    }

    /** @return iterable<string, array{Framing, string, list<string>}> */
    public static function framings(): iterable
    {
        yield 'delimiters' => [Framing::until("\r\n", "\n")->strip(), "a\r\n\nb\nc", ['a', '', 'b', 'c']];
        yield 'fixed' => [Framing::fixed(2), 'aabbc', ['aa', 'bb']];
        yield 'two bytes' => [Framing::length(2, strip: 2), "\0\x01a\0\0\0\x02bb\0\x09c", ['a', '', 'bb']];
        yield 'little' => [Framing::length(2, 'little'), "\x01\0a", ["\x01\0a"]];
        yield 'offset, adjust' => [Framing::length(1, offset: 1, adjust: -2), "x\x03ax\x04bb", ["x\x03a", "x\x04bb"]];
        yield 'digits' => [Framing::lengthInDigits(2, strip: 2), '03abc00', ['abc', '']];
        yield 'varint' => [Framing::lengthInVarint(1), "0\x01a0\x80\x01" . str_repeat('b', 128), [
            "0\x01a", "0\x80\x01" . str_repeat('b', 128),
        ]];
        yield 'begin alike' => [Framing::until("\n", "\r", "\r\n"), "a\r\nb\rc\n\rd\r", [
            "a\r\n", "b\r", "c\n", "\r", "d\r",
        ]];
        yield 'between marks' => [Framing::of(['delimiter_hex' => '7e', 'skip_empty' => true]), '~a~~b~', ['a~', 'b~']];
        yield 'list in digits' => [Framing::of(['delimiters_hex' => ['1c 0d', '1c']]), "a\x1c\rb\x1c", [
            "a\x1c\r", "b\x1c",
        ]];
        yield 'octet counting' => [Framing::lengthUntil(' '), '1 a10 0123456789', ['1 a', '10 0123456789']];
        yield 'netstring' => [Framing::lengthUntil(':', adjust: 1), '1:a,0:,', ['1:a,', '0:,']];
        $field = static fn (array $keys): Framing => Framing::of(['framing' => 'length', 'length' => $keys]);
        yield 'hexadecimal' => [$field(['bytes' => 2, 'encoding' => 'hex']), '0Aaaaaaaaaaa01b', [
            '0Aaaaaaaaaaa', '01b',
        ]];
        yield 'digits in bytes' => [$field(['bytes' => 1, 'encoding' => 'bcd']), "\x10" . '0123456789', [
            "\x10" . '0123456789',
        ]];
        yield 'flags in 64 bits' => [$field(['bytes' => 8, 'mask' => 0xFF]), str_repeat("\xff", 7) . "\1a", [
            str_repeat("\xff", 7) . "\1a",
        ]];
        yield 'ten digits' => [Framing::lengthUntil(' '), '0000000001 a', ['0000000001 a']];
        yield 'a varint of ten bytes' => [Framing::lengthInVarint(), "\x81" . str_repeat("\x80", 8) . "\0a", [
            "\x81" . str_repeat("\x80", 8) . "\0a",
        ]];
        yield 'flags' => [$field(['bytes' => 2, 'mask' => 0x7FFF]), "\x80\x01a\0\x01b", ["\x80\x01a", "\0\x01b"]];
        $rules = [['starts' => '<', 'delimiter' => "\n"]];
        $rules[] = ['starts_hex' => 'ff', 'framing' => 'fixed', 'packet_size' => 1];
        $rules[] = ['starts' => '1', 'framing' => 'length', 'length' => ['ascii' => true, 'until' => ' ']];
        yield 'rules' => [Framing::of(['rules' => $rules]), "<a\n\xff1 b<tail", ["<a\n", "\xff", '1 b', '<tail']];
        $rules = [['starts' => '<<', 'framing' => 'fixed', 'packet_size' => 3], ['delimiter' => "\n"]];
        yield 'a tail that a longer one would fit' => [Framing::of(['rules' => $rules]), "<<a<", ['<<a', '<']];
    }

    /** @dataProvider lengthsThatCannotBe */
    public function testALengthThatCannotBeEndsTheConnection(Framing $framing, string $bytes): void
    {
        foreach ([strlen($bytes), 1] as $size) {
            $client = (new TestHost(static fn (): Reply => Reply::continue(), $framing))->connect();
            foreach (str_split($bytes, $size) as $part) {
                self::assertTrue($client->isOpen(), 'all but the last byte may still be a length');
                $client->send($part);
            }
            self::assertSame(Reason::TooLong, $client->reason());
            $types = array_map(static fn (Event $e): EventType => $e->type, $client->events());
            self::assertSame([EventType::Connected, EventType::Close], $types);
        }
    }

    /** @return iterable<string, array{Framing, string}> as tests of internal/framing have them */
    public static function lengthsThatCannotBe(): iterable
    {
        yield 'less than the field itself' => [Framing::length(4, adjust: -4), "\0\0\0\x03"];
        yield 'nothing at all' => [Framing::length(4, adjust: -4), "\0\0\0\0"];
        yield 'less than nothing' => [Framing::length(1, adjust: -9), "\1"];
        yield 'less than what is stripped' => [Framing::length(1, strip: 3), "\1"];
        yield 'more than 63 bits' => [Framing::length(8), "\x80\0\0\0\0\0\0\0"];
        yield 'all that 64 bits can say' => [Framing::length(8, 'little'), str_repeat("\xff", 8)];
        yield 'almost 63 bits' => [Framing::length(8), "\x7f" . str_repeat("\xff", 7)];
        yield 'no digits' => [Framing::lengthInDigits(4), 'G'];
        yield 'a sign' => [Framing::lengthInDigits(4), '1-'];
        yield 'a blank' => [Framing::lengthInDigits(4), '12 '];
        yield 'no digit where one ends them' => [Framing::lengthUntil(' '), '<'];
        yield 'none before the byte that ends them' => [Framing::lengthUntil(' '), ' '];
        yield 'another byte that ends them' => [Framing::lengthUntil(' ', offset: 2), 'xx12,'];
        yield 'eleven digits' => [Framing::lengthUntil(' '), '00000000001'];
        yield 'a long varint' => [Framing::lengthInVarint(), str_repeat("\x80", 9) . "\x01"];
        yield 'an endless varint' => [Framing::lengthInVarint(), str_repeat("\x80", 10)];
        $field = static fn (array $keys): Framing => Framing::of(['framing' => 'length', 'length' => $keys]);
        yield 'no hexadecimal digits' => [$field(['bytes' => 4, 'encoding' => 'hex']), '0g'];
        yield 'more than 63 bits of them' => [$field(['bytes' => 16, 'encoding' => 'hex']), str_repeat('f', 16)];
        yield 'no decimal digits in a byte' => [$field(['bytes' => 2, 'encoding' => 'bcd']), "\x0a"];
    }

    public function testAPacketThatCannotBeWaitsForThoseBeforeIt(): void
    {
        $echo = static fn (Event $e): Reply => Reply::write($e->type === EventType::Data ? "<{$e->body}>" : '');
        $lines = Framing::of(['rules' => [['starts' => '<', 'delimiter' => "\n"]]]);
        $counted = Framing::lengthUntil(' ');
        $cases = [[$lines, "<a\n", Reason::Framing], [$counted, '1 a', Reason::TooLong]];
        foreach ($cases as [$framing, $packet, $reason]) {
            foreach ([$framing, $framing->batch()] as $one) {
                $client = (new TestHost($echo, $one))->connect()->send("{$packet}b");
                self::assertSame("<$packet>", $client->received());
                self::assertSame($reason, $client->reason());
            }
        }
    }

    public function testExceptionsOfTheHandlerAreNotTakenForThoseOfTheFraming(): void
    {
        foreach ([new \RangeException(), new \LengthException()] as $mistake) {
            $fails = static fn (Event $e): Reply => $e->body === '' ? Reply::continue() : throw $mistake;
            try {
                (new TestHost($fails))->connect()->send("x\r\n");
                self::fail('it is lost');
            } catch (\RangeException | \LengthException $e) {
                self::assertSame($mistake, $e);
            }
        }
    }

    /**
     * @param array<string, mixed> $next
     *
     * @dataProvider refusedFramings
     */
    public function testAFramingThatTheServerRefusesIsAMistake(array $next, string $mistake): void
    {
        $packets = 0;
        $handler = static function (Event $e) use ($next, &$packets): Reply {
            return match (true) {
                $e->type === EventType::Connected => Reply::continue()->withNext(Framing::of($next)),
                $packets++ > 9 => throw new \OverflowException('it has packets without an end'),
                default => Reply::continue(),
            };
        };
        $this->expectException(\InvalidArgumentException::class);
        $this->expectExceptionMessage($mistake);
        (new TestHost($handler))->connect()->send("<a\r\n");
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function refusedFramings(): iterable
    {
        yield 'no bytes' => [['framing' => 'fixed', 'packet_size' => 0], 'packets of no bytes'];
        yield 'an empty delimiter' => [['delimiter' => ''], 'packets of no bytes'];
        yield 'one of several' => [['delimiters' => ["\n", '']], 'packets of no bytes'];
        yield 'of a batch' => [['framing' => 'fixed', 'packet_size' => 0, 'batch' => true], 'packets of no bytes'];
        yield 'a misspelt key' => [['delimter' => "\n"], 'does not know the key delimter'];
        yield 'in a rule' => [['rules' => [['start' => '<', 'delimiter' => "\n"]]], 'does not know the key start'];
        $length = ['framing' => 'length', 'length' => ['bytes' => 2, 'ending' => 'big']];
        yield 'in a length' => [$length, 'the key ending'];
        yield 'in the length of a rule' => [['rules' => [['starts' => '<'] + $length]], 'the key ending'];
    }

    public function testWhatHasArrived(): void
    {
        $echo = static fn (Event $e): Reply => Reply::write($e->type === EventType::Data ? "<{$e->body}>" : '');
        $client = (new TestHost($echo, Framing::raw()))->connect();
        self::assertSame('<a><bc>', $client->send('a')->send('bc')->received());
        $client = (new TestHost($echo, Framing::until("\n")->batch()))->connect();
        self::assertSame("<a\nb\n><c\n>", $client->send("a\nb\nc")->send("\n")->received());
        $client = (new TestHost($echo, Framing::of(['rules' => [['starts' => '<', 'delimiter' => "\n"]]])))->connect();
        self::assertSame(Reason::Framing, $client->send("<a\nb")->endOfFile()->reason());
        $client = (new TestHost($echo, Framing::until("\r\n", "\r")))->connect();
        self::assertSame('', $client->send("a\r")->received());
        self::assertSame("<a\r>", $client->wait()->received());
        $framing = Framing::of(['delimiters' => ["\r\n", "\r"], 'delimiter_wait' => '0s']);
        $client = (new TestHost($echo, $framing))->connect();
        self::assertSame("<a\r>", $client->send("a\r")->received());
        $client = (new TestHost($echo, Framing::until("\r\n\r\n", "\n")))->connect();
        self::assertSame("<a\r\n\r\n><b\n>", $client->send("a\r\n")->send("\r\nb\n")->received());
        self::assertSame("<a\r\n>", $client->send("a\r\n")->wait()->received());
        try {
            (new TestHost($echo, Framing::of(['protocol' => 'mqtt'])))->connect();
            self::fail('a protocol would be cut as lines');
        } catch (\InvalidArgumentException) {
        }
        $this->expectExceptionMessage('does not know the framing');
        (new TestHost($echo, Framing::of(['framing' => 'new'])))->connect();
    }
}
