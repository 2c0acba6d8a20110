<?php

declare(strict_types=1);

/**
 * A worker for the tests: php worker.php BEHAVIOUR [FILE]
 *
 *      echo         sends every packet back
 *      record FILE  the same, and appends each event to FILE as one line of JSON, its body in base64
 *      noclose      the same, but never answers CLOSE
 *      error        answers every packet with an ERROR frame
 *      exit         dies at the first packet
 */

require __DIR__ . '/goridge.php';

$behaviour = $argv[1] ?? 'echo';
$file = $argv[2] ?? '';

if (!in_array($behaviour, ['echo', 'record', 'noclose', 'error', 'exit'], true)) {
    fwrite(STDERR, "unknown behaviour: $behaviour\n");
    exit(2);
}
if ($behaviour === 'record' && $file === '') {
    fwrite(STDERR, "record needs a file\n");
    exit(2);
}

$goridge = new Goridge();

while (($exchange = $goridge->receive()) !== null) {
    [$context, $body] = $exchange;
    $event = json_decode($context, true, 8, JSON_THROW_ON_ERROR);

    if ($behaviour === 'record') {
        $line = json_encode($event + ['body' => base64_encode($body), 'pid' => getmypid()], JSON_THROW_ON_ERROR);
        file_put_contents($file, $line . "\n", FILE_APPEND | LOCK_EX);
    }

    switch ($event['event']) {
        case 'DATA':
            if ($behaviour === 'exit') {
                exit(1);
            }
            if ($behaviour === 'error') {
                $goridge->error('this worker answers packets with errors');
            } else {
                $goridge->answer('WRITE', $body);
            }
            break;

        case 'CLOSE':
        case 'CLOSED': // dialect: documented
            if ($behaviour !== 'noclose') {
                $goridge->answer('CONTINUE');
            }
            break;

        default:
            $goridge->answer('CONTINUE');
    }
}
