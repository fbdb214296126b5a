{{/* Names, labels and addresses. */}}

{{- define "fanfare.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* Room for "-control" and what else is appended. */ -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects pods. Selectors of Deployments cannot be changed: neither can these. */}}
{{- define "fanfare.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with rest . }}
app.kubernetes.io/component: {{ first . }}
{{- end }}
{{- end -}}

{{/* list root [component] */}}
{{- define "fanfare.labels" -}}
{{- $root := index . 0 -}}
{{ include "fanfare.selector" . }}
app.kubernetes.io/version: {{ default $root.Chart.AppVersion $root.Values.image.tag | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: fanfare
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object. dict root name [component] [labels] [annotations] */}}
{{- define "fanfare.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- $for := list .root -}}
  {{- with .component }}{{ $for = append $for . }}{{ end }}
  {{- include "fanfare.labels" $for | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An object with what `merge` says of it. list root key text */}}
{{- define "fanfare.object" -}}
{{- $root := index . 0 -}}
{{- $object := index . 2 | fromYaml -}}
{{- with $object.Error }}{{ fail (printf "%s: %s" (index $ 1) .) }}{{ end -}}
{{- get $root.Values.merge (index . 1) | deepCopy | mustMergeOverwrite $object | toYaml -}}
{{- end -}}

{{- define "fanfare.serviceAccount" -}}
{{- $own := ternary (include "fanfare.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{- define "fanfare.image" -}}
{{- $tag := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- $digest := printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- ternary $tag $digest (empty .Values.image.digest) -}}
{{- end -}}

{{/* "true" if one process runs every role, on the backbone in memory. */}}
{{- define "fanfare.isMemory" -}}
{{- if eq .Values.backbone.kind "memory" }}true{{ end -}}
{{- end -}}

{{/* The roles that have a Deployment, between spaces. */}}
{{- define "fanfare.roles" -}}
{{- ternary "edge" "edge control worker" (eq (include "fanfare.isMemory" .) "true") -}}
{{- end -}}

{{/* The component that serves the control plane. */}}
{{- define "fanfare.controlComponent" -}}
{{- ternary "edge" "control" (eq (include "fanfare.isMemory" .) "true") -}}
{{- end -}}

{{/* NATS servers as a JSON list. */}}
{{- define "fanfare.natsUrls" -}}
{{- $installed := list (printf "nats://%s:4222" .Values.nats.fullnameOverride) -}}
{{- ternary $installed .Values.backbone.nats.urls .Values.nats.enabled | toRawJson -}}
{{- end -}}

{{/* Between SIGTERM and SIGKILL of an edge, in seconds. The 15 are what Fanfare asks for in drain.duration. */}}
{{- define "fanfare.leastGrace" -}}
{{- add .Values.drain.graceSeconds .Values.drain.durationSeconds 15 -}}
{{- end -}}

{{- define "fanfare.edgeGrace" -}}
{{- $given := .Values.edge.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given }}{{ include "fanfare.leastGrace" . }}{{ else }}{{ int64 $given }}{{ end -}}
{{- end -}}

{{/* The most pods and the fewest that the edge may have. */}}
{{- define "fanfare.edgeFewest" -}}
{{- ternary .Values.edge.autoscaling.minReplicas .Values.edge.replicas .Values.edge.autoscaling.enabled | int64 -}}
{{- end -}}
