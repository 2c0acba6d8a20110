<?php

declare(strict_types=1);

require dirname(__DIR__, 2) . '/tests/php/spiral/autoload.php';

if (!interface_exists(Spiral\RoadRunner\StreamWorkerInterface::class)) { // roadrunner-worker 3.0.0
    class_alias(Spiral\RoadRunner\WorkerInterface::class, Spiral\RoadRunner\StreamWorkerInterface::class);
}
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Rrtcp\\Worker\\Tests\\')) {
        require __DIR__ . '/' . substr($class, strlen('Rrtcp\\Worker\\Tests\\')) . '.php';
    }
});
