<?php

/** RoadRunner's RPC on the unix socket that the argument names. It accepts each call, and one on each connection. */

declare(strict_types=1);

$server = stream_socket_server("unix://$argv[1]") ?: exit(1);
echo "listens\n";
while ($client = stream_socket_accept($server, 60)) {
    $header = unpack('vstart/Vlength/Vchecksum/vstream/Vcall/Vmethod', fread($client, 20));
    $method = substr(fread($client, $header['length']), 0, $header['method']);
    $answer = "$method\"accepted\"";
    $start = pack('vV', $header['start'], strlen($answer));
    fwrite($client, $start . pack('VvVV', crc32($start), 0, $header['call'], $header['method']) . $answer);
    fclose($client);
    echo "closes\n";
}
