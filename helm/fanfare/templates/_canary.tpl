{{/* The canary: `fanfare admin canary`, in a Deployment and in the pod of `helm test`. */}}

{{/* "true" if somebody named what it signs with. */}}
{{- define "fanfare.hasCanary" -}}
{{- with .Values.canary }}{{ if and .app .keyName .keySecret.existingSecret }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The edge's Service as a URL. */}}
{{- define "fanfare.edgeUrl" -}}
{{- $tls := ne .Values.edge.tls.existingSecret "" -}}
{{- $port := .Values.edge.service.port -}}
{{- $given := ternary "" (printf ":%d" (int64 $port)) (kindIs "invalid" $port) -}}
{{ ternary "https" "http" $tls }}://{{ include "fanfare.fullname" . }}-edge.{{ .Release.Namespace }}{{ $given }}
{{- end -}}

{{/* The command up to what differs. list root url serverName */}}
{{- define "fanfare.canaryArguments" -}}
{{- $root := index . 0 -}}
{{- $url := index . 1 -}}
{{- $serverName := index . 2 -}}
{{- $secrets := include "fanfare.secrets" $root -}}
{{- with $root.Values.canary -}}
- admin
- canary
- {{ $url }}
- --app
- {{ .app | quote }}
- --key
- {{ .keyName | quote }}
- --key-secret-file
- {{ $secrets }}/key.secret
- --channel
- {{ .channel | quote }}
- --timeout
- {{ .timeout }}
{{- range .protocols }}
- --protocol
- {{ . }}
{{- end }}
{{- if hasPrefix "https://" $url }}
{{- if .tls.caSecret }}
- --ca-file
- {{ $secrets }}/canary-ca.crt
{{- end }}
{{- if $serverName }}
- --server-name
- {{ $serverName | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What both containers have in common. */}}
{{- define "fanfare.canaryContainerBasics" -}}
image: {{ include "fanfare.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources:
  {{- toYaml .Values.canary.resources | nindent 2 }}
{{ include "fanfare.containerSecurity" . }}
volumeMounts:
  - { name: secrets, mountPath: {{ include "fanfare.secrets" . }}, readOnly: true }
{{- end -}}

{{/* What both pods have in common. */}}
{{- define "fanfare.canaryPodBasics" -}}
{{ include "fanfare.podBasics" . }}
volumes:
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- with .Values.canary }}
        {{- include "fanfare.secretSource" (list .keySecret.existingSecret (dict .keySecret.key "key.secret")) | trim | nindent 8 }}
        {{- with .tls.caSecret }}
        {{- include "fanfare.secretSource" (list . (dict "ca.crt" "canary-ca.crt")) | trim | nindent 8 }}
        {{- end }}
        {{- end }}
{{- end -}}

{{- define "fanfare.canaryContainer" -}}
{{- $any := ternary "[::]" "0.0.0.0" (eq .Values.ipFamily "IPv6") -}}
name: canary
args:
  {{- $url := default (include "fanfare.edgeUrl" .) .Values.canary.url }}
  {{- include "fanfare.canaryArguments" (list . $url .Values.canary.tls.serverName) | nindent 2 }}
  - --interval
  - {{ .Values.canary.interval }}
  - --listen
  - {{ printf "%s:6004" $any | quote }}
ports:
  # As with all other pods, so that the same Service leads to its metrics.
  - { name: admin, containerPort: 6004 }
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{ include "fanfare.canaryContainerBasics" . }}
{{- end -}}

{{- define "fanfare.canaryPod" -}}
{{ include "fanfare.canaryPodBasics" . }}
# It holds nothing that has to be brought to an end.
terminationGracePeriodSeconds: 10
containers:
  -
    {{- include "fanfare.object" (list . "canaryContainer" (include "fanfare.canaryContainer" .)) | nindent 4 }}
{{- end -}}

{{- define "fanfare.canaryDeployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "fanfare.metadata" (dict "root" . "name" (printf "%s-canary" (include "fanfare.fullname" .)) "component" "canary") | nindent 2 }}
spec:
  # More would measure the same.
  replicas: 1
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- include "fanfare.selector" (list . "canary") | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "fanfare.selector" (list . "canary") | nindent 8 }}
        {{- with .Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with .Values.canary.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.canary.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "fanfare.object" (list . "canaryPod" (include "fanfare.canaryPod" .)) | nindent 6 }}
{{- end -}}

{{- define "fanfare.canaryNetworkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "fanfare.metadata" (dict "root" . "name" (printf "%s-canary" (include "fanfare.fullname" .)) "component" "canary") | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "fanfare.selector" (list . "canary") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{ port: admin }]
      from:
        {{- toYaml .Values.networkPolicy.scrapersFrom | nindent 8 }}
  egress:
    # Names. To any address, because some clusters answer them on the node.
    - ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
    {{- if .Values.canary.url }}
    # The public address, wherever it leads.
    {{- $port := regexFind ":[0-9]+" (regexReplaceAll "^https?://(\\[[^]]*\\])?" .Values.canary.url "") | trimPrefix ":" }}
    - ports: [{ port: {{ default (ternary "443" "80" (hasPrefix "https://" .Values.canary.url)) $port }} }]
    {{- else }}
    - ports: [{ port: client }]
      to:
        - podSelector:
            matchLabels:
              {{- include "fanfare.selector" (list . "edge") | nindent 14 }}
    {{- end }}
    {{- with .Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
