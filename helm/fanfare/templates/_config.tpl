{{/* Fanfare's own configuration file, one for each role, and the secrets that it names. */}}

{{/* Where the container has its files. */}}
{{- define "fanfare.configFile" -}}/etc/fanfare/fanfare.toml{{- end -}}
{{- define "fanfare.secrets" -}}/etc/fanfare/secrets{{- end -}}

{{/* What the chart sets for a role, as YAML. list root role */}}
{{- define "fanfare.settings" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := $root.Values -}}
{{- $memory := eq (include "fanfare.isMemory" $root) "true" -}}
{{- $secrets := include "fanfare.secrets" $root -}}
{{- $any := ternary "[::]" "0.0.0.0" (eq $values.ipFamily "IPv6") -}}
roles: {{ ternary (list "edge" "control" "worker") (list $role) $memory | toRawJson }}
{{- /* On every address for every role: a worker that listens on loopback alone takes itself for somebody's workstation,
       and lets webhooks go there. */}}
listen: {{ printf "%s:6001" $any | quote }}
control:
  listen: {{ printf "%s:6002" $any | quote }}
  {{- if $values.control.tls.existingSecret }}
  ca_file: {{ $secrets }}/control-ca.crt
  server_name: {{ $values.control.tls.serverName | quote }}
  {{- if or $memory (eq $role "control") }}
  tls:
    cert_file: {{ $secrets }}/control.crt
    key_file: {{ $secrets }}/control.key
    {{- if $values.control.tls.clientCaSecret }}
    client_ca_file: {{ $secrets }}/administrators-ca.crt
    {{- end }}
  {{- end }}
  {{- end }}
admin:
  listen: {{ printf "%s:6003" $any | quote }}
  {{- if and $values.adminToken.existingSecret (or $memory (eq $role "control")) }}
  token_file: {{ $secrets }}/admin.token
  {{- end }}
{{- if $values.clusterKey.existingSecret }}
cluster:
  key_file: {{ $secrets }}/cluster.key
{{- end }}
{{- if and $values.seed.existingSecret (or $memory (eq $role "control")) }}
seed: {{ $secrets }}/apps.toml
{{- end }}
{{- with $values.serviceMonitor.apps }}
metrics:
  apps: {{ int64 . }}
{{- end }}
{{- with $values.traces }}
{{- if .endpoint }}
trace:
  endpoint: {{ .endpoint | quote }}
  sample_ratio: {{ .sampleRatio }}
  {{- if .caSecret }}
  ca_file: {{ $secrets }}/collector-ca.crt
  {{- end }}
  {{- if .headers.existingSecret }}
  headers_file: {{ $secrets }}/trace.headers
  {{- end }}
{{- end }}
{{- end }}
{{- if eq $role "edge" }}
drain:
  grace: {{ int64 $values.drain.graceSeconds }}s
  duration: {{ int64 $values.drain.durationSeconds }}s
edge:
  max_connections: {{ int64 $values.edge.maxConnections }}
  {{- with $values.edge.trustedProxies }}
  trusted_proxies: {{ toRawJson . }}
  {{- end }}
  {{- if $values.edge.proxyProtocol }}
  proxy_protocol: required
  {{- end }}
  {{- with $values.edge.maxConnectionAge }}
  max_connection_age: {{ . }}
  {{- end }}
{{- if $values.edge.tls.existingSecret }}
tls:
  cert_file: {{ $secrets }}/edge.crt
  key_file: {{ $secrets }}/edge.key
{{- end }}
{{- end }}
{{- if $memory }}
{{- if $values.backbone.dataClaim }}
data_dir: /var/lib/fanfare
{{- end }}
{{- else }}
backbone:
  shards: {{ int64 $values.backbone.shards }}
  replicas: {{ int64 $values.backbone.replicas }}
{{- with $values.backbone.nats }}
nats:
  urls: {{ include "fanfare.natsUrls" $root }}
  {{- if .credentials.existingSecret }}
  credentials_file: {{ $secrets }}/nats.creds
  {{- end }}
  {{- if .user.name }}
  user: {{ .user.name | quote }}
  password_file: {{ $secrets }}/nats.password
  {{- end }}
  tls:
    required: {{ .tls.required }}
    {{- if .tls.caSecret }}
    ca_file: {{ $secrets }}/nats-ca.crt
    {{- end }}
    {{- if .tls.clientSecret }}
    cert_file: {{ $secrets }}/nats.crt
    key_file: {{ $secrets }}/nats.key
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The same with `config` and the role's own, as YAML. list root role */}}
{{- define "fanfare.mergedSettings" -}}
{{- $values := (index . 0).Values -}}
{{- $settings := include "fanfare.settings" . | fromYaml -}}
{{- $own := get $values (index . 1) -}}
{{- mustMergeOverwrite $settings (deepCopy $values.config) (deepCopy $own.config) | toYaml -}}
{{- end -}}

{{/* A table as TOML with dotted keys. Not by toToml, which makes 64 into 64.0. dict prefix table */}}
{{- define "fanfare.toml" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .table -}}
{{- $path := printf "%s%s" $prefix $key -}}
{{- if kindIs "map" $value -}}
{{- include "fanfare.toml" (dict "prefix" (printf "%s." $path) "table" $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- /* JSON's texts, lists, numbers and switches are TOML's, too. */ -}}
{{- printf "%s = %s\n" $path (toRawJson $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The file. list root role */}}
{{- define "fanfare.configText" -}}
{{- include "fanfare.toml" (dict "prefix" "" "table" (include "fanfare.mergedSettings" . | fromYaml)) -}}
{{- end -}}

{{/* list root role */}}
{{- define "fanfare.configMap" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "fanfare.metadata" (dict "root" $root "name" (printf "%s-%s" (include "fanfare.fullname" $root) $role) "component" $role) | nindent 2 }}
data:
  fanfare.toml: |
    {{- include "fanfare.configText" . | trim | nindent 4 }}
{{- end -}}

{{/* Secrets as files, those that a role needs: sources of a projected volume. list root role */}}
{{- define "fanfare.secretSources" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := $root.Values -}}
{{- $memory := eq (include "fanfare.isMemory" $root) "true" -}}
{{- $isControl := or $memory (eq $role "control") -}}
{{- with $values.clusterKey }}
{{- include "fanfare.secretSource" (list .existingSecret (dict .key "cluster.key")) }}
{{- end }}
{{- if $isControl }}
{{- include "fanfare.secretSource" (list $values.adminToken.existingSecret (dict $values.adminToken.key "admin.token")) }}
{{- include "fanfare.secretSource" (list $values.seed.existingSecret (dict $values.seed.key "apps.toml")) }}
{{- end }}
{{- with $values.control.tls }}
{{- include "fanfare.secretSource" (list .existingSecret (dict "ca.crt" "control-ca.crt")) }}
{{- if $isControl }}
{{- include "fanfare.secretSource" (list .existingSecret (dict "tls.crt" "control.crt" "tls.key" "control.key")) }}
{{- include "fanfare.secretSource" (list .clientCaSecret (dict "ca.crt" "administrators-ca.crt")) }}
{{- end }}
{{- end }}
{{- with $values.traces }}
{{- if .endpoint }}
{{- include "fanfare.secretSource" (list .caSecret (dict "ca.crt" "collector-ca.crt")) }}
{{- include "fanfare.secretSource" (list .headers.existingSecret (dict .headers.key "trace.headers")) }}
{{- end }}
{{- end }}
{{- if eq $role "edge" }}
{{- include "fanfare.secretSource" (list $values.edge.tls.existingSecret (dict "tls.crt" "edge.crt" "tls.key" "edge.key")) }}
{{- end }}
{{- if not $memory }}
{{- with $values.backbone.nats }}
{{- include "fanfare.secretSource" (list .credentials.existingSecret (dict .credentials.key "nats.creds")) }}
{{- include "fanfare.secretSource" (list .user.existingSecret (dict .user.key "nats.password")) }}
{{- include "fanfare.secretSource" (list .tls.caSecret (dict "ca.crt" "nats-ca.crt")) }}
{{- include "fanfare.secretSource" (list .tls.clientSecret (dict "tls.crt" "nats.crt" "tls.key" "nats.key")) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* list secret {key: path} */}}
{{- define "fanfare.secretSource" -}}
{{- if index . 0 }}
- secret:
    name: {{ index . 0 }}
    items:
      {{- range $key, $path := index . 1 }}
      - { key: {{ $key | quote }}, path: {{ $path }} }
      {{- end }}
{{- end }}
{{- end -}}
