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
