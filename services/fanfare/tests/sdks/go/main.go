// Command sdks drives ably-go from outside: one call a line on stdin, one answer a line on stdout, as JSON.
//
// The first line is the library's settings. A call is {"method", "args"}; its answer {"result"} or {"error", "message"}.
// What happens by itself is a line {"happened"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/ably/ably-go/ably"
)

const patience = 15 * time.Second

type settings struct {
	Host   string `json:"host"`
	Port   int    `json:"port"`
	Token  string `json:"token"`
	Binary bool   `json:"binary"`
}

type call struct {
	Method string `json:"method"`
	Args   []any  `json:"args"`
}

var out sync.Mutex

// say writes a line with one member, for the library's goroutines and our own.
func say(line map[string]any) {
	out.Lock()
	defer out.Unlock()
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func main() {
	in := bufio.NewReader(os.Stdin)
	var given settings
	next(in, &given)
	library, err := ably.NewRealtime(
		ably.WithToken(given.Token),
		ably.WithRESTHost(given.Host),
		ably.WithRealtimeHost(given.Host),
		ably.WithPort(given.Port),
		ably.WithTLS(false),
		ably.WithFallbackHosts([]string{}),
		ably.WithUseBinaryProtocol(given.Binary),
		ably.WithAutoConnect(false),
		ably.WithLogLevel(ably.LogNone),
	)
	if err != nil {
		panic(err)
	}
	for {
		var asked call
		next(in, &asked)
		result, err := answer(library, asked)
		if err != nil {
			say(map[string]any{"error": "AblyException", "message": err.Error()})
		} else {
			say(map[string]any{"result": result})
		}
	}
}

// next reads a line, and ends the process behind the last one.
func next(in *bufio.Reader, into any) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		os.Exit(0)
	}
	if err := json.Unmarshal(line, into); err != nil {
		panic(err)
	}
}

func answer(library *ably.Realtime, asked call) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	channel := func() *ably.RealtimeChannel { return library.Channels.Get(asked.Args[0].(string)) }
	switch asked.Method {
	case "connect":
		return nil, connect(ctx, library)
	case "subscribe":
		_, err := channel().SubscribeAll(ctx, func(message *ably.Message) {
			say(map[string]any{"happened": shown(message)})
		})
		return nil, err
	case "publish":
		return nil, channel().Publish(ctx, asked.Args[1].(string), asked.Args[2])
	case "watch":
		_, err := channel().Presence.SubscribeAll(ctx, func(event *ably.PresenceMessage) {
			say(map[string]any{"happened": map[string]any{"action": event.Action.String(), "clientId": event.ClientID}})
		})
		return nil, err
	case "enter":
		return nil, channel().Presence.Enter(ctx, asked.Args[1])
	case "present":
		return present(ctx, channel())
	case "history":
		return history(ctx, channel(), asked.Args[1].(string))
	case "time":
		now, err := library.Time(ctx)
		return now.UnixMilli(), err
	case "close":
		library.Close()
		return nil, nil
	}
	return nil, fmt.Errorf("no method %s", asked.Method)
}

func connect(ctx context.Context, library *ably.Realtime) error {
	changed := make(chan ably.ConnectionStateChange, 8)
	off := library.Connection.OnAll(func(change ably.ConnectionStateChange) { changed <- change })
	defer off()
	library.Connect()
	for {
		select {
		case change := <-changed:
			switch change.Current {
			case ably.ConnectionStateConnected:
				return nil
			case ably.ConnectionStateFailed:
				return change.Reason
			}
		case <-ctx.Done():
			return errors.New("not connected in time")
		}
	}
}

func present(ctx context.Context, channel *ably.RealtimeChannel) (any, error) {
	members, err := channel.Presence.Get(ctx)
	ids := []string{}
	for _, member := range members {
		ids = append(ids, member.ClientID)
	}
	sort.Strings(ids)
	return ids, err
}

func history(ctx context.Context, channel *ably.RealtimeChannel, limit string) (any, error) {
	var size int
	if _, err := fmt.Sscan(limit, &size); err != nil {
		return nil, err
	}
	request := channel.History(ably.HistoryWithLimit(size), ably.HistoryWithDirection(ably.Forwards))
	items, err := request.Items(ctx)
	if err != nil {
		return nil, err
	}
	all := []any{}
	for items.Next(ctx) {
		all = append(all, shown(items.Item()))
	}
	return all, items.Err()
}

// shown is a message as the test wants it. Unless the channel has deltas, ably-go 1.3 hands messages over as they were on the
// wire, to be decoded by their encoding.
func shown(message *ably.Message) map[string]any {
	data := message.Data
	if text, ok := data.(string); ok && message.Encoding == "json" {
		if err := json.Unmarshal([]byte(text), &data); err != nil {
			panic(err)
		}
	}
	return map[string]any{"name": message.Name, "clientId": message.ClientID, "data": data}
}
