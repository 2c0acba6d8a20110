<?php

/** Makes a server where PHP complains of the class Worker, as PHP 8.4 does of that of roadrunner-worker 3.4.0. */

declare(strict_types=1);

require dirname(__DIR__) . '/src/Server.php';

spl_autoload_register(static function (string $class): void {
    trigger_error("$class is old", E_USER_DEPRECATED);
    eval('namespace Spiral\RoadRunner; interface WorkerInterface {} class Worker implements WorkerInterface
    {
        public static function create(): self
        {
            return new self();
        }
    }');
});

new Rrtcp\Worker\Server();
