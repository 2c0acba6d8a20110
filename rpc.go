package tcp

// rpc holds the methods that RoadRunner's rpc plugin serves as tcp.*.
type rpc struct {
	plugin *Plugin
}

// Close closes the connection with the given uuid. closed is true also where no such connection is open (any more), as
// it has always been; a string that is no uuid is an error.
func (r *rpc) Close(uuid string, closed *bool) error {
	*closed = false
	if err := r.plugin.Close(uuid); err != nil {
		return err
	}
	*closed = true
	return nil
}
