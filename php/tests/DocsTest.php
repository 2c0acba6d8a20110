<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Rrtcp\Worker\Event;
use Rrtcp\Worker\Reply;

final class DocsTest extends TestCase
{
    private const USES = 'use Rrtcp\Worker\{Event, EventType, Framing, PushResult, Pusher, Reply, TestHost};';

    /** @var list<string> */
    private array $blocks;

    protected function setUp(): void
    {
        $guide = file_get_contents(dirname(__DIR__, 2) . '/docs/php.md');
        preg_match_all('/^```php\n(.*?)^```$/ms', $guide, $blocks);
        $this->blocks = $blocks[1];
    }

    public function testTheHandlerAndItsTestAreRight(): void
    {
        $handler = strstr($this->block('final class Greeter'), '(new Server())', true);
        eval(self::USES . $handler . $this->block('new TestHost'));
    }

    public function testTheReplyIsRight(): void
    {
        $from = 'a';
        $reply = eval(self::USES . $this->block('->withState'));
        self::assertInstanceOf(Reply::class, $reply);
        self::assertSame(
            '{"reply":"WRITE","uuid":"u","state":"{\"from\":\"a\",\"inMail\":true}","tags":["user:a","room:3"],'
            . '"next":{"once":true,"framing":"delimiter","delimiter":"\r\n.\r\n"}}',
            json_encode($reply->toArray('u')),
        );
    }

    public function testTheFirstAnswersAreRight(): void
    {
        $guide = file_get_contents(dirname(__DIR__, 2) . '/docs/protocols.md');
        self::assertSame(1, preg_match('/^```php\n(.*?)^```$/ms', $guide, $block));
        eval("declare(strict_types=1);\n$block[1]");
        $data = static fn (string $body): Event => Event::fromContext(['event' => 'DATA'], $body);
        self::assertSame('', $logs($data('<34>x'))->body);
        self::assertSame("\x01", $teltonika($data("\0\x0f353536070424410"))->body);
        self::assertSame('', $teltonika($data("\xff"))->body);
        $record = hex2bin('000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F'
            . '01F10000601A014E0000000000000000010000C7CF');
        self::assertSame("\0\0\0\x01", $teltonika($data($record))->body);
        self::assertSame("\x20\x02\0\0", $mqtt($data("\x10\x0d\0\x04MQTT"))->body);
        self::assertSame("\x20\x03\0\0\0", $mqtt($data("\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0"))->body, 'version 5');
        self::assertSame("\xd0\0", $mqtt($data("\xc0\0"))->body);
        $asked = hex2bin('000100000006110300000002');
        self::assertSame('00010000000711030400010002', bin2hex($modbus($data($asked))->body));
        $message = "\x0bMSH|^~\\&|ADT1|A|LAB|A|198808181126|S|ADT^A01|MSG00001|P|2.8\rPID|1\r\x1c\r";
        self::assertSame("\x0bMSH|^~\\&|||||||ACK||P|2.8\rMSA|AA|MSG00001\r\x1c\r", $mllp($data($message))->body);
        self::assertStringEndsWith("|AA|\r\x1c\r", $mllp($data("\r"))->body, 'what a late end of a message leaves');
        foreach ([$logs, $teltonika, $mqtt, $modbus, $mllp] as $handler) {
            self::assertSame('', $handler(Event::fromContext(['event' => 'CONNECTED'], ''))->body);
        }
    }

    public function testEveryPropertyOfAnEventIsInTheTable(): void
    {
        $guide = implode("\n", file(dirname(__DIR__, 2) . '/docs/php.md'));
        foreach ((new \ReflectionClass(Event::class))->getProperties(\ReflectionProperty::IS_PUBLIC) as $property) {
            self::assertMatchesRegularExpression("/^\|.*`{$property->name}`/m", $guide);
        }
    }

    private function block(string $with): string
    {
        foreach ($this->blocks as $block) {
            if (str_contains($block, $with)) {
                return $block;
            }
        }
        self::fail("no block has $with");
    }
}
