<?php

declare(strict_types=1);

namespace Rrtcp\Worker\Tests;

use PHPUnit\Framework\TestCase;
use Spiral\Goridge\RPC\AbstractRPC;
use Spiral\RoadRunner\Message\Command\Pong;

/** What the stand-ins for the Spiral packages have of them is as it is there. */
final class StandInTest extends TestCase
{
    /** What the stand-ins do not have: anything that takes a relay, and the properties of roadrunner-tcp 3. */
    private const MISSING = [
        'Spiral\RoadRunner\Worker' => '/^__construct\(/',
        'Spiral\Goridge\RPC\RPC' => '/^__construct\(/',
        'Spiral\RoadRunner\Tcp\Request' => '/^readonly /',
    ];

    public function testItsMembersAreThoseOfTheRealPackages(): void
    {
        $vendor = (string) getenv('RRTCP_PHP_VENDOR');
        if ($vendor === '') {
            self::markTestSkipped('RRTCP_PHP_VENDOR does not say where the real packages are');
        }
        if (!class_exists(Pong::class) || !class_exists(AbstractRPC::class)) {
            self::markTestSkipped('the stand-ins are those of newer packages');
        }
        $standIns = self::api('', []);
        self::assertGreaterThan(15, count($standIns));
        $real = self::api($vendor, array_keys($standIns));
        foreach ($standIns as $class => $members) {
            $invented = array_diff($members, $real[$class]);
            self::assertSame([], array_values($invented), "only the stand-in of $class has these");
            $missing = array_diff($real[$class], $members);
            $missing = preg_grep(self::MISSING[$class] ?? '/^$/', $missing, PREG_GREP_INVERT);
            self::assertSame([], array_values($missing), "the stand-in of $class lacks these");
        }
    }

    /**
     * @param list<string> $classes
     *
     * @return array<string, list<string>>
     */
    private static function api(string $vendor, array $classes): array
    {
        $command = [PHP_BINARY, dirname(__DIR__, 2) . '/tests/php/spiral/api.php', implode(',', $classes)];
        $environment = ['RRTCP_PHP_VENDOR' => $vendor] + getenv();
        $process = proc_open($command, [1 => ['pipe', 'w']], $pipes, null, $environment);
        self::assertIsResource($process);
        $printed = stream_get_contents($pipes[1]);
        self::assertSame(0, proc_close($process), (string) $printed);

        return json_decode((string) $printed, true, 16, JSON_THROW_ON_ERROR);
    }
}
