// A guarded service: guarded-service KEYLEDGER CREDENTIAL_FILE SERVICE_CONFIG
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"google.golang.org/grpc"

	keyledgerv1 "github.com/keyledger/keyledger/gen/go/keyledger/v1"
)

func main() {
	address, credential, serviceConfig := os.Args[1], text(os.Args[2]), text(os.Args[3])
	// To another machine: grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{}))
	connection, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(serviceConfig))
	must(err)
	keys := keyledgerv1.NewKeyServiceClient(connection)
	guard := &Guard{Keys: keys, Credential: strings.TrimSuffix(credential, "\n")}

	http.Handle("/reports", guard.Require("reports:read", http.HandlerFunc(account)))
	http.Handle("/invoices", guard.Require("invoices:write", http.HandlerFunc(account)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Printf("ready http=%s\n", listener.Addr())
	must(http.Serve(listener, nil))
}

func account(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, PrincipalOf(r.Context()).GetAccountId())
}

func text(path string) string {
	read, err := os.ReadFile(path)
	must(err)
	return string(read)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
