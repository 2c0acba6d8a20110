//go:build go1.25

package tcp

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// summed is a summary and what it has reported.
func summed() (s *summary, told func() []int) {
	var reports []int
	s = &summary{report: func(times int) { reports = append(reports, times) }}
	return s, func() []int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return reports
	}
}

func TestTheFirstIsReportedAtOnceAndTheRestOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, told := summed()
		s.add()
		require.Equal(t, []int{1}, told())
		for range 5 {
			s.add()
		}
		time.Sleep(summaryPause - time.Nanosecond)
		synctest.Wait()
		require.Equal(t, []int{1}, told(), "no earlier than after a second")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, []int{1, 5}, told())

		s.add()
		synctest.Wait()
		require.Equal(t, []int{1, 5}, told(), "a report begins a pause of its own")
		time.Sleep(summaryPause)
		synctest.Wait()
		require.Equal(t, []int{1, 5, 1}, told())

		time.Sleep(summaryPause)
		synctest.Wait()
		s.mu.Lock()
		quiet := s.quiet
		s.mu.Unlock()
		require.Nil(t, quiet, "a pause in which nothing happened ends it")
		s.add()
		require.Equal(t, []int{1, 5, 1, 1}, told())
		s.close()
	})
}

func TestACloseReportsTheRestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, told := summed()
		s.close()
		require.Empty(t, told())
		s.add()
		s.add()
		s.add()
		s.close()
		require.Equal(t, []int{1, 2}, told())
		s.close()
		time.Sleep(3 * summaryPause)
		synctest.Wait()
		require.Equal(t, []int{1, 2}, told())

		s.add() // late, but not forgotten
		require.Equal(t, []int{1, 2, 1}, told())
		s.add()
		s.close()
		require.Equal(t, []int{1, 2, 1, 1}, told())
	})
}

func TestNothingIsCountedTwiceOrForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, told := summed()
		var wg sync.WaitGroup
		for range 20 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 50 {
					s.add()
					time.Sleep(70 * time.Millisecond)
				}
			}()
		}
		wg.Wait()
		s.close()
		total := 0
		for _, n := range told() {
			total += n
		}
		require.Equal(t, 20*50, total)
		require.LessOrEqual(t, len(told()), 2+int(50*70*time.Millisecond/summaryPause), "one at once, one a second, the rest")
	})
}
