package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	keyledgerv1 "github.com/keyledger/keyledger/gen/go/keyledger/v1"
)

// deadline is how long a request may wait for a verdict; keyledger is told, and does not begin what
// comes too late.
const deadline = 2 * time.Second

// mostKey is longer than any key: what is longer is cut, so that keyledger can say that it is none.
const mostKey = 256

// Guard lets requests through only if keyledger allows the key they bring. The connection has
// service_config.json.
type Guard struct {
	Keys       keyledgerv1.KeyServiceClient
	Credential string
}

type principalKey struct{}

// PrincipalOf returns who a request that got through speaks for.
func PrincipalOf(ctx context.Context) *keyledgerv1.Principal {
	principal, _ := ctx.Value(principalKey{}).(*keyledgerv1.Principal)
	return principal
}

// Require serves next to keys with a permission.
func (g *Guard) Require(permission string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), deadline)
		defer cancel()
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+g.Credential)
		answer, err := g.Keys.Authenticate(ctx, question(r, permission))
		if err != nil {
			log.Printf("keyledger gave no verdict: %v", err)
			http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
			return
		}
		// A denied key is a normal answer: err is nil.
		if answer.GetOutcome() != keyledgerv1.Outcome_OUTCOME_ALLOWED || answer.GetPrincipal() == nil {
			refuse(w, answer)
			return
		}
		ctx = context.WithValue(r.Context(), principalKey{}, answer.GetPrincipal())
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func question(r *http.Request, permission string) *keyledgerv1.AuthenticateRequest {
	// Behind a proxy the address is the proxy's: take the one that it puts into a header of its own.
	source, _, _ := net.SplitHostPort(r.RemoteAddr)
	return &keyledgerv1.AuthenticateRequest{
		ApiKey:              presented(r.Header),
		RequiredPermissions: []string{permission},
		Context:             &keyledgerv1.AuthenticateContext{Action: permission, SourceIp: source},
	}
}

// presented returns the key of one `authorization: Bearer`; of several none is picked.
func presented(headers http.Header) string {
	values := headers.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	parts := strings.SplitN(values[0], " ", 2)
	if len(parts) != 2 || !strings.EqualFold(parts[0], "bearer") {
		return ""
	}
	key := parts[1]
	if len(key) > mostKey {
		key = key[:mostKey]
	}
	return strings.ToValidUTF8(key, "?")
}

func refuse(w http.ResponseWriter, answer *keyledgerv1.AuthenticateResponse) {
	status := http.StatusUnauthorized
	switch answer.GetDenialReason() {
	case keyledgerv1.DenialReason_DENIAL_REASON_TENANT_MISMATCH,
		keyledgerv1.DenialReason_DENIAL_REASON_ACCOUNT_INACTIVE,
		keyledgerv1.DenialReason_DENIAL_REASON_PERMISSION_MISSING,
		keyledgerv1.DenialReason_DENIAL_REASON_SOURCE_NOT_ALLOWED:
		status = http.StatusForbidden
	case keyledgerv1.DenialReason_DENIAL_REASON_RATE_LIMITED:
		status = http.StatusTooManyRequests
		wait := answer.GetRateLimit().GetRetryAfter()
		seconds := wait.GetSeconds()
		if wait.GetNanos() > 0 {
			seconds++
		}
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	default:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, answer.GetPublicMessage(), status)
}
