<?php

declare(strict_types=1);

/**
 * Stands in for Composer's vendor/autoload.php where packages cannot be downloaded: the kit in php/, and stand-ins for
 * spiral/roadrunner-worker, spiral/goridge and spiral/roadrunner-tcp that have no public member which those do not have.
 *
 * With RRTCP_PHP_VENDOR it is the real packages: the folder vendor of Composer, or a folder with a checkout of each.
 */

(static function (): void {
    $load = static function (string $prefix, string $folder): void {
        spl_autoload_register(static function (string $class) use ($prefix, $folder): void {
            $file = $folder . '/' . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
            if (str_starts_with($class, $prefix) && is_file($file)) {
                require $file;
            }
        });
    };
    $load('Rrtcp\\Worker\\', dirname(__DIR__, 3) . '/php/src');

    $vendor = (string) getenv('RRTCP_PHP_VENDOR');
    if ($vendor === '') {
        foreach (['psr', 'worker', 'goridge', 'tcp'] as $package) {
            require_once __DIR__ . "/$package.php";
        }

        return;
    }
    if (is_file("$vendor/autoload.php")) {
        require_once "$vendor/autoload.php";
        interface_exists(Psr\Log\LoggerInterface::class) || require_once __DIR__ . '/psr.php';

        return;
    }
    $packages = [
        'Spiral\\RoadRunner\\Tcp\\' => ['spiral/roadrunner-tcp', 'roadrunner-tcp', 'tcp'],
        'Spiral\\RoadRunner\\' => ['spiral/roadrunner-worker', 'roadrunner-worker', 'worker'],
        'Spiral\\Goridge\\' => ['spiral/goridge', 'goridge'],
        'Psr\\Log\\' => ['psr/log', 'log'],
    ];
    foreach ($packages as $prefix => $folders) {
        $found = array_filter($folders, static fn (string $folder): bool => is_dir("$vendor/$folder/src"));
        if ($found !== []) {
            $load($prefix, "$vendor/" . reset($found) . '/src');
        } elseif ($prefix === 'Psr\\Log\\') {
            require_once __DIR__ . '/psr.php';
        } else {
            fwrite(STDERR, "RRTCP_PHP_VENDOR: $vendor has no " . implode(', nor ', $folders) . "\n");
            exit(2);
        }
    }
})();
