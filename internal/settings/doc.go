// Package settings owns the section tcp of the configuration: its keys, their defaults, every check of a value, and keys that
// nothing reads. It opens no socket, and it does not know the type of the pool's section: a RoadRunner line embeds Config
// beside that and hands the whole to Config.Load.
package settings
