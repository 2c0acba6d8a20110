<?php

declare(strict_types=1);

require dirname(__DIR__, 2) . '/tests/php/spiral/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Rrtcp\\Worker\\Tests\\')) {
        require __DIR__ . '/' . substr($class, strlen('Rrtcp\\Worker\\Tests\\')) . '.php';
    }
});
