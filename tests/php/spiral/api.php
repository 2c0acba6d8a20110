<?php

declare(strict_types=1);

/**
 * Prints of each class that the stand-ins have what it is and its public members, as JSON: php api.php
 *
 * PHPUnit compares what it prints for the stand-ins with what it prints for the real packages.
 */

require __DIR__ . '/autoload.php';

/** A type, or the value of a constant or a default, as text. */
$text = static fn (mixed $value): string => is_object($value) ? $value::class : var_export($value, true);

$found = [];
foreach ($argv[1] ?? false ? explode(',', $argv[1]) : [...get_declared_classes(), ...get_declared_interfaces()] as $name) {
    if (!str_starts_with($name, 'Spiral\\')) {
        continue;
    }
    $class = new ReflectionClass($name);
    $members = $class->isFinal() ? ['final'] : [];
    for ($parent = $class->getParentClass(); $parent; $parent = $parent->getParentClass()) {
        if (!$parent->isAbstract()) { // how the real ones share code is theirs
            $members[] = "extends {$parent->name}";
        }
    }
    foreach ($class->getInterfaceNames() as $interface) {
        $members[] = "implements $interface";
    }
    foreach ($class->getReflectionConstants(ReflectionClassConstant::IS_PUBLIC) as $constant) {
        $value = $constant->getValue();
        $members[] = "const {$constant->name} = " . ($value instanceof BackedEnum ? $text($value->value) : $text($value));
    }
    foreach ($class->getProperties(ReflectionProperty::IS_PUBLIC) as $property) {
        $members[] = ($property->isReadOnly() ? 'readonly ' : '') . "{$property->getType()} \${$property->name}";
    }
    foreach ($class->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
        $parameters = array_map(static function (ReflectionParameter $p) use ($text): string {
            $default = $p->isDefaultValueAvailable() ? ' = ' . $text($p->getDefaultValue()) : '';

            return "{$p->getType()} " . ($p->isVariadic() ? '...' : '') . "\${$p->name}$default";
        }, $method->getParameters());
        $members[] = ($method->isStatic() ? 'static ' : '') . "{$method->name}(" . implode(', ', $parameters) . '): '
            . $method->getReturnType();
    }
    sort($members);
    $found[$name] = $members;
}
ksort($found);
echo json_encode($found, JSON_THROW_ON_ERROR | JSON_PRETTY_PRINT), "\n";
