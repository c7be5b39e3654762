package collector

import (
	"context"
	"errors"
	"fmt"
)

// Stop ends receiving, writes every contact received into the log and commits
// it, until ctx ends. It may be called twice, and after a failed Start.
func (c *Collector) Stop(ctx context.Context) error {
	c.stopOnce.Do(func() { c.stopErr = c.stop(ctx) })
	return c.stopErr
}

func (c *Collector) stop(ctx context.Context) error {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if !running {
		c.closeKafka()
		if c.input != nil {
			return errors.Join(c.input.Close(), c.closeSessions())
		}
		return nil
	}
	release := context.AfterFunc(ctx, c.stopPublishing)
	defer release()
	c.flushAhead()
	c.stopReceiving()
	c.receivers.Wait()
	close(c.stopFlusher)
	c.flusher.Wait()
	c.keeper.Wait()
	<-c.written
	c.closeKafka() // after the last commit that it is to know of
	c.stopPublishing()
	c.publisher.far.close()
	err := errors.Join(c.unwritten(), c.input.Close())
	commit, _, _ := c.publisher.state()
	c.deps.Logger.Info("collector stopped", "name", c.cfg.Name, "incarnation", commit.Incarnation,
		"flush", commit.Flush, "ended", commit.Ended)
	return err
}

// flushAhead puts into the log what was received until now, and then what came
// meanwhile, while packets are still read: from the end of receiving on they
// are lost until the next process listens, and by then little shall be left to
// write. A third time would leave no less: a small window takes as long to
// write as the next one takes to come.
func (c *Collector) flushAhead() {
	for range 2 {
		done := make(chan struct{})
		c.ahead <- done
		select {
		case <-done:
		case <-c.written: // the publisher gave up
			return
		}
	}
}

// unwritten returns an error if the publisher ended with something left.
func (c *Collector) unwritten() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeErr == nil {
		return nil
	}
	windows, contacts := c.queue.depth()
	return fmt.Errorf("collector: the last flush and %d more with %d contacts are not in the log: %w", windows, contacts, c.writeErr)
}
