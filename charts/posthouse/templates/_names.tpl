{{/*
Names are fixed: there is one installation per cluster, since the CustomResourceDefinitions and the admission policy
are the cluster's. A second release is refused by Helm, because these objects belong to the first.
*/}}

{{- define "posthouse.selector" -}}
app.kubernetes.io/name: posthouse-operator
{{- end }}

{{- define "posthouse.labels" -}}
{{ include "posthouse.selector" . }}
app.kubernetes.io/part-of: posthouse
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image: a list of the values of it and the chart's appVersion. */}}
{{- define "posthouse.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end }}

{{/* The namespaces of relays. Without any the operator would do nothing and say nothing. */}}
{{- define "posthouse.relayNamespaces" -}}
{{- if not .Values.relayNamespaces -}}
{{- fail "\n\nrelayNamespaces is required: the namespaces in which MailRelays are served, which must exist already. As in\n\n    --set 'relayNamespaces={mail-system}'\n\nor, for every namespace,\n\n    --set 'relayNamespaces={*}'\n" -}}
{{- end -}}
{{- join "," .Values.relayNamespaces -}}
{{- end }}
