<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Event;
use Rrtcp\Worker\Framing;
use Rrtcp\Worker\Reply;

final class ReplyTest extends TestCase
{
    /**
     * @param array<string, mixed> $context
     *
     * @dataProvider replies
     */
    public function testOnTheWire(Reply $reply, array $context, string $body = ''): void
    {
        self::assertSame($context, $reply->toArray('u'));
        self::assertSame($body, $reply->body);
    }

    /** @return iterable<string, array{0: Reply, 1: array<string, mixed>, 2?: string}> */
    public static function replies(): iterable
    {
        yield 'write' => [Reply::write("a\0"), ['reply' => 'WRITE', 'uuid' => 'u'], "a\0"];
        yield 'continue' => [Reply::continue(), ['reply' => 'CONTINUE', 'uuid' => 'u']];
        yield 'write and close' => [Reply::writeAndClose('a'), ['reply' => 'WRITECLOSE', 'uuid' => 'u'], 'a'];
        yield 'close' => [Reply::close(), ['reply' => 'CLOSE', 'uuid' => 'u']];
        yield 'state' => [Reply::continue()->withState('s'), ['reply' => 'CONTINUE', 'uuid' => 'u', 'state' => 's']];
        yield 'state as array' => [
            Reply::continue()->withState(['a' => 1]),
            ['reply' => 'CONTINUE', 'uuid' => 'u', 'state' => '{"a":1}'],
        ];
        yield 'no state' => [Reply::continue()->withState([]), ['reply' => 'CONTINUE', 'uuid' => 'u', 'state' => '']];
        yield 'no tags' => [Reply::continue()->withTags([]), ['reply' => 'CONTINUE', 'uuid' => 'u', 'tags' => []]];
        yield 'tags that are there twice' => [
            Reply::continue()->withTags(['b', ...array_fill(0, 33, 'a'), 'b']),
            ['reply' => 'CONTINUE', 'uuid' => 'u', 'tags' => ['b', 'a']],
        ];
        yield 'all of it' => [
            Reply::write('b')->withTags([3 => 'x', 5 => 'y'])->withNext(Framing::until("\n")->once())->withState('s'),
            [
                'reply' => 'WRITE', 'uuid' => 'u', 'state' => 's', 'tags' => ['x', 'y'],
                'next' => ['once' => true, 'framing' => 'delimiter', 'delimiter' => "\n"],
            ],
            'b',
        ];
    }

    public function testAFramingWithoutKeysIsAnObject(): void
    {
        $reply = Reply::continue()->withNext(Framing::of([]));
        self::assertSame('{"reply":"CONTINUE","uuid":"u","next":{}}', json_encode($reply->toArray('u')));
    }

    public function testAStateKeepsItsTypes(): void
    {
        $state = ['price' => 10.0, 'count' => 10, 'text' => '10', 'none' => null, 'list' => [1.5, true, []]];
        $event = Event::fromContext(['event' => 'DATA', 'state' => Reply::continue()->withState($state)->state], '');
        self::assertSame($state, $event->stateArray());
    }

    public function testStatesAndTagsMayBeAsLargeAsTheGuideSays(): void
    {
        $state = str_repeat('x', 64 << 10);
        $tags = array_map(static fn (int $n): string => str_pad((string) $n, 128, 'x'), range(1, 32));
        $reply = Reply::continue()->withState($state)->withTags($tags);
        self::assertSame($state, $reply->state);
        self::assertSame($tags, $reply->tags);
    }

    /** @dataProvider mistakes */
    public function testWhatCannotBeSentIsRefusedWhereItIsWritten(\Closure $mistake): void
    {
        $this->expectException(\InvalidArgumentException::class);
        $mistake();
    }

    /** @return iterable<string, array{\Closure}> */
    public static function mistakes(): iterable
    {
        yield 'a state that is no text' => [static fn () => Reply::continue()->withState("\xff")];
        yield 'a large state' => [static fn () => Reply::continue()->withState(str_repeat('x', (64 << 10) + 1))];
        yield 'an empty tag' => [static fn () => Reply::continue()->withTags([''])];
        yield 'a long tag' => [static fn () => Reply::continue()->withTags([str_repeat('x', 129)])];
        yield 'a tag that is no text' => [static fn () => Reply::continue()->withTags(["\xff"])];
        yield 'many tags' => [static fn () => Reply::continue()->withTags(array_map('strval', range(1, 33)))];
        yield 'an empty delimiter' => [static fn () => Framing::until('')];
        yield 'a delimiter twice' => [static fn () => Framing::until("\n", "\r\n", "\n")];
        yield 'two bytes behind a number' => [static fn () => Framing::lengthUntil('§')];
        yield 'a digit behind a number' => [static fn () => Framing::lengthUntil('A')];
        yield 'a number of 5 bytes' => [static fn () => Framing::length(5)];
        yield 'an unknown order of bytes' => [static fn () => Framing::length(2, 'middle')];
        yield 'no digits' => [static fn () => Framing::lengthInDigits(0)];
        yield 'many digits' => [static fn () => Framing::lengthInDigits(19)];
        yield 'a number before the packet' => [static fn () => Framing::lengthInVarint(-1)];
        yield 'less than nothing to strip' => [static fn () => Framing::length(2, strip: -2)];
        yield 'more than a GiB to strip' => [static fn () => Framing::length(2, strip: (1 << 30) + 1)];
        yield 'more than a GiB before it' => [static fn () => Framing::lengthInDigits(2, offset: PHP_INT_MAX)];
        yield 'more than a GiB to add' => [static fn () => Framing::lengthInVarint(adjust: (1 << 30) + 1)];
        yield 'more than a GiB to take away' => [static fn () => Framing::lengthUntil(' ', adjust: PHP_INT_MIN)];
        yield 'packets of nothing' => [static fn () => Framing::fixed(0)];
        yield 'keys that JSON has no way to say' => [static fn () => Framing::of(['starts' => "\xff"])];
        yield 'a batch of one' => [static fn () => Framing::until("\n")->batch()->once()];
        yield 'one batch' => [static fn () => Framing::protocol('redis')->once()->batch()];
        yield 'a batch without delimiters' => [static fn () => Framing::until("\n")->strip()->batch()];
        yield 'a batch without lengths' => [static fn () => Framing::length(2, strip: 2)->batch()];
        $rules = [['starts' => '<'], ['framing' => 'length', 'length' => ['bytes' => 2, 'strip' => 2]]];
        yield 'a batch without lengths in rules' => [static fn () => Framing::of(['rules' => $rules])->batch()];
        yield 'a batch of all that has arrived' => [static fn () => Framing::raw()->batch()];
        foreach ([Framing::length(2), Framing::fixed(9), Framing::raw(), Framing::of(['rules' => []])] as $framing) {
            yield 'no delimiter to strip: ' . json_encode($framing->toArray()) => [static fn () => $framing->strip()];
        }
    }

    public function testAReplyDoesNotChange(): void
    {
        $reply = Reply::write('a');
        $full = $reply->withTls()->withState('s')->withTags(['t'])->withNext(Framing::raw());
        self::assertSame(['reply' => 'WRITE', 'uuid' => 'u'], $reply->toArray('u'));
        $keys = ['state' => 's', 'tags' => ['t'], 'next' => ['framing' => 'raw'], 'tls' => true];
        self::assertSame(['reply' => 'WRITE', 'uuid' => 'u'] + $keys, $full->toArray('u'));
        self::assertSame('', $full->withState('')->state, 'an empty state is one');
        $this->expectException(\LogicException::class);
        Reply::stream(['a'])->withTls();
    }

    /**
     * @param array<string, mixed> $keys
     *
     * @dataProvider framings
     */
    public function testFramings(Framing $framing, array $keys): void
    {
        self::assertEquals($keys, $framing->toArray());
    }

    /** @return iterable<array{Framing, array<string, mixed>}> */
    public static function framings(): iterable
    {
        yield [
            Framing::until("\r\n", "\n")->strip(),
            ['framing' => 'delimiter', 'delimiters' => ["\r\n", "\n"], 'strip' => true],
        ];
        yield [Framing::until("\n")->batch(), ['framing' => 'delimiter', 'delimiter' => "\n", 'batch' => true]];
        yield [
            Framing::length(2, 'little', strip: 2),
            ['framing' => 'length', 'length' => ['bytes' => 2, 'endian' => 'little', 'strip' => 2]],
        ];
        yield [
            Framing::lengthInDigits(4, adjust: -4)->once(),
            ['framing' => 'length', 'length' => ['ascii' => 4, 'adjust' => -4], 'once' => true],
        ];
        foreach ([1, 2, 3, 4, 8] as $bytes) {
            $length = ['bytes' => $bytes, 'endian' => 'big'];
            yield [Framing::length($bytes), ['framing' => 'length', 'length' => $length]];
        }
        foreach ([1, 18] as $digits) {
            yield [Framing::lengthInDigits($digits), ['framing' => 'length', 'length' => ['ascii' => $digits]]];
        }
        yield [Framing::lengthInVarint(1), ['framing' => 'length', 'length' => ['varint' => true, 'offset' => 1]]];
        $length = ['ascii' => true, 'until' => ':', 'adjust' => 1];
        yield [Framing::lengthUntil(':', adjust: 1), ['framing' => 'length', 'length' => $length]];
        yield [Framing::until('§'), ['framing' => 'delimiter', 'delimiter_hex' => 'c2a7']];
        yield [Framing::until("\n", "\xff"), ['framing' => 'delimiter', 'delimiters_hex' => ['0a', 'ff']]];
        $length = ['ascii' => true, 'until_hex' => 'ff', 'offset' => 1];
        yield [Framing::lengthUntil("\xff", 1), ['framing' => 'length', 'length' => $length]];
        $length = ['ascii' => true, 'until_hex' => '80'];
        yield [Framing::lengthUntil("\x80"), ['framing' => 'length', 'length' => $length]];
        yield [Framing::protocol('mqtt')->once(), ['protocol' => 'mqtt', 'once' => true]];
        yield [Framing::fixed(9), ['framing' => 'fixed', 'packet_size' => 9]];
        yield [Framing::raw(), ['framing' => 'raw']];
        yield [Framing::of(['framing' => 'new'])->once(), ['framing' => 'new', 'once' => true]];
    }
}
