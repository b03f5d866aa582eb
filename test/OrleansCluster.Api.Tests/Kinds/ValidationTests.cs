using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Tests.Api;

/// <summary>What users get to read for bad manifests: a change to a valid object, and the fields and texts of all errors.</summary>
public sealed class ValidationTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);

    private const string RichPod = """
        {"spec":{"nodeSelector":{"disk":"ssd"},"hostname":"h","subdomain":"s","activeDeadlineSeconds":60,"priorityClassName":"high",
         "initContainers":[{"name":"i","image":"init:1","command":["true"]},{"name":"side","image":"side:1","restartPolicy":"Always","startupProbe":{"exec":{"command":["x"]}}}],
         "containers":[{"name":"c","image":"web:1","ports":[{"name":"http","containerPort":80},{"containerPort":53,"protocol":"UDP"}],
           "env":[{"name":"A","value":"b"},{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},{"name":"L","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['app']"}}},
             {"name":"R","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}},{"name":"K","valueFrom":{"configMapKeyRef":{"name":"m","key":"k"}}},
             {"name":"S","valueFrom":{"secretKeyRef":{"name":"s","key":"k","optional":true}}}],
           "envFrom":[{"prefix":"P_","configMapRef":{"name":"m"}},{"secretRef":{"name":"s"}}],
           "volumeMounts":[{"name":"e","mountPath":"/e"},{"name":"m","mountPath":"/m","subPath":"a/b","readOnly":true}],
           "resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"1","memory":"1Gi","example.com/gpu":"2"}},
           "livenessProbe":{"httpGet":{"port":"http","path":"/healthz"}},"readinessProbe":{"tcpSocket":{"port":80},"successThreshold":2},
           "lifecycle":{"preStop":{"sleep":{"seconds":5}},"postStart":{"exec":{"command":["x"]}}},"securityContext":{"runAsUser":1000}}],
         "volumes":[{"name":"e","emptyDir":{"sizeLimit":"1Gi"}},{"name":"h","hostPath":{"path":"/var/log"}},{"name":"m","configMap":{"name":"m","items":[{"key":"k","path":"p/k"}]}},
           {"name":"s","secret":{"secretName":"s","defaultMode":256}},{"name":"d","downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}}]}},
           {"name":"p","projected":{"sources":[{"serviceAccountToken":{"path":"token","expirationSeconds":3607}},{"configMap":{"name":"kube-root-ca.crt"}}]}},
           {"name":"n","nfs":{"server":"nas","path":"/x"}},{"name":"v","persistentVolumeClaim":{"claimName":"v"}}],
         "tolerations":[{"operator":"Exists"},{"key":"k","value":"v","effect":"NoExecute","tolerationSeconds":300}],
         "affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}},
           "podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":100,"podAffinityTerm":{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"web"}}}}]}},
         "topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app":"web"}}}],
         "dnsConfig":{"nameservers":["10.0.0.10"],"options":[{"name":"ndots","value":"2"}]},"hostAliases":[{"ip":"10.0.0.1","hostnames":["a.b"]}],
         "readinessGates":[{"conditionType":"example.com/ready"}],"imagePullSecrets":[{"name":"r"}]}}
        """;

    [Fact]
    public void A_rich_pod_is_valid_and_canonical()
    {
        var pods = Registry.Get("pods");
        var type = SchemaCatalog.Find("", "v1", "Pod")!;
        var decoded = ObjectDecoder.DecodeJson(Encoding.UTF8.GetBytes(SampleObjects.Parse(pods, RichPod).ToJsonString()), type);
        Assert.Empty(decoded.StrictErrors);
        var stored = SampleObjects.Stored(pods, decoded.Object!);

        var again = ObjectDecoder.Canonicalize(stored, type).Object!;

        Assert.True(JsonNode.DeepEquals(stored, again), stored.ToJsonString() + "\n" + again.ToJsonString());
        Assert.Equal(PipelineOutcome.Unchanged, SampleObjects.Update(pods, again, stored).Outcome);
    }

    public static TheoryData<string, string> Pods => new()
    {
        { """{"containers":null}""", "spec.containers: Required value" },
        { """{"containers":[{}]}""", "spec.containers[0].name: Required value; spec.containers[0].image: Required value" },
        { """{"containers":[{"name":"C_","image":"i"}]}""", "spec.containers[0].name: Invalid value: \"C_\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')" },
        { """{"containers":[{"name":"c","image":"i"},{"name":"c","image":"i"}]}""", "spec.containers[1].name: Duplicate value: \"c\"" },
        { """{"containers":[{"name":"c","image":"i"}],"initContainers":[{"name":"c","image":"i"}]}""", "spec.initContainers[0].name: Duplicate value: \"c\"" },
        { """{"containers":[{"name":"c","image":" i"}]}""", "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace" },
        { """{"containers":[{"name":"c","image":"i","imagePullPolicy":"Sometimes"}]}""", "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"" },
        { """{"restartPolicy":"Sometimes"}""", "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"" },
        { """{"dnsPolicy":"None"}""", "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None" },
        { """{"activeDeadlineSeconds":0}""", "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive" },
        { """{"hostname":"a.b"}""", "spec.hostname: Invalid value: \"a.b\": a lowercase RFC 1123 label must*" },
        { """{"nodeName":"N"}""", "spec.nodeName: Invalid value: \"N\": a lowercase RFC 1123 subdomain must*" },
        { """{"nodeSelector":{"a":"b c"}}""", "spec.nodeSelector: Invalid value: \"b c\": a valid label must be an empty string or*" },
        { """{"containers":[{"name":"c","image":"i","ports":[{"containerPort":0},{"containerPort":70000},{"containerPort":1,"protocol":"ICMP"},{"containerPort":1,"name":"UP"},{"containerPort":1,"name":"a"},{"containerPort":2,"name":"a"},{"containerPort":3,"hostPort":-1}]}]}""",
            "spec.containers[0].ports[0].containerPort: Required value; spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive; spec.containers[0].ports[2].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"; spec.containers[0].ports[3].name: Invalid value: \"UP\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-); spec.containers[0].ports[3].name: Invalid value: \"UP\": must contain at least one letter (a-z); spec.containers[0].ports[5].name: Duplicate value: \"a\"; spec.containers[0].ports[6].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive" },
        { """{"containers":[{"name":"c","image":"i","ports":[{"containerPort":1,"hostPort":80},{"containerPort":2,"hostPort":80}]}]}""", "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\"" },
        { """{"containers":[{"name":"c","image":"i","env":[{"value":"x"},{"name":"A=B"},{"name":"A","value":"x","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},{"name":"B","valueFrom":{}},{"name":"C","valueFrom":{"fieldRef":{"fieldPath":"spec.foo"}}}]}]}""",
            "spec.containers[0].env[0].name: Required value; spec.containers[0].env[1].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='; spec.containers[0].env[2].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty; spec.containers[0].env[3].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`; spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.foo\": supported values: *" },
        { """{"containers":[{"name":"c","image":"i","env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"m"},"secretKeyRef":{"name":"s","key":"k"}}}],"envFrom":[{},{"configMapRef":{}}]}]}""",
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time; spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value; spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`; spec.containers[0].envFrom[1].configMapRef.name: Required value" },
        { """{"containers":[{"name":"c","image":"i","volumeMounts":[{"name":"nope","mountPath":"/a"},{"name":"v","mountPath":"/a"},{"name":"v"},{"name":"v","mountPath":"/b","subPath":"/x"},{"name":"v","mountPath":"/c","subPath":"a/../b"}]}],"volumes":[{"name":"v"}]}""",
            "spec.containers[0].volumeMounts[0].name: Not found: \"nope\"; spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique; spec.containers[0].volumeMounts[2].mountPath: Required value; spec.containers[0].volumeMounts[3].subPath: Invalid value: \"/x\": must be a relative path; spec.containers[0].volumeMounts[4].subPath: Invalid value: \"a/../b\": must not contain '..'" },
        { """{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"2","memory":"-1"},"limits":{"cpu":"1","weird":"1"}}}]}""",
            "spec.containers[0].resources.limits[weird]: Invalid value: \"weird\": must be a standard resource type or fully qualified; spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0; *; spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1" },
        { """{"containers":[{"name":"c","image":"i","livenessProbe":{"httpGet":{"port":0},"periodSeconds":-1,"successThreshold":2},"readinessProbe":{},"startupProbe":{"exec":{},"tcpSocket":{"port":1}}}]}""",
            "spec.containers[0].livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive; spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0; spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1; spec.containers[0].readinessProbe: Required value: must specify a handler type; spec.containers[0].startupProbe.exec.command: Required value; spec.containers[0].startupProbe.tcpSocket: Forbidden: may not specify more than 1 handler type" },
        { """{"initContainers":[{"name":"i","image":"i","readinessProbe":{"tcpSocket":{"port":1}}}]}""", "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always" },
        { """{"initContainers":[{"name":"i","image":"i","restartPolicy":"Never"}]}""", "spec.initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"" },
        { """{"volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/x"}},{"name":"v"},{"emptyDir":{}},{"name":"h","hostPath":{}},{"name":"s","secret":{}},{"name":"m","configMap":{"name":"m","items":[{}]}}]}""",
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type; spec.volumes[1].name: Duplicate value: \"v\"; spec.volumes[2].name: Required value; spec.volumes[3].hostPath.path: Required value; spec.volumes[4].secret.secretName: Required value; spec.volumes[5].configMap.items[0].key: Required value; spec.volumes[5].configMap.items[0].path: Required value" },
        { """{"tolerations":[{"key":"k","effect":"NoSchedule","tolerationSeconds":1},{"value":"v"},{"key":"k","operator":"Like"},{"key":"k","operator":"Exists","value":"v"},{"operator":"Exists","effect":"Never"}]}""",
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set; spec.tolerations[1].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"; spec.tolerations[2].operator: Unsupported value: \"Like\": supported values: \"Equal\", \"Exists\"; spec.tolerations[3].operator: Invalid value: *: value must be empty when `operator` is 'Exists'; spec.tolerations[4].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"" },
        { """{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{}},"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{}],"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":200,"podAffinityTerm":{"topologyKey":"z"}}]}}}""",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term; spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty; spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 200: must be in the range 1-100" },
        { """{"topologySpreadConstraints":[{"whenUnsatisfiable":"Maybe"}]}""", "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero; spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty; spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Maybe\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"" },
        { """{"schedulingGates":[{"name":"a"}],"nodeName":"n"}""", "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared" },
        { """{"containers":[{"name":"c","image":"i","securityContext":{"privileged":true,"allowPrivilegeEscalation":false,"runAsUser":-1}}]}""", "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive; spec.containers[0].securityContext: Invalid value: *: cannot set `allowPrivilegeEscalation` to false and `privileged` to true" },
    };

    [Theory, MemberData(nameof(Pods))]
    public void Pod(string specPatch, string expected) => Check("pods", $$$"""{"spec":{{{specPatch}}}}""", expected);

    public static TheoryData<string, string, string> Others => new()
    {
        { "configmaps", """{"data":{"a b":"x"}}""", "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')" },
        { "configmaps", """{"binaryData":{"k":"YQ=="}}""", "data[k]: Invalid value: \"k\": duplicate of key present in binaryData" },
        { "secrets", """{"type":"kubernetes.io/tls"}""", "data[tls.crt]: Required value; data[tls.key]: Required value" },
        { "secrets", """{"type":"kubernetes.io/dockerconfigjson","stringData":{".dockerconfigjson":"{"}}""", "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": *" },
        { "secrets", """{"type":"kubernetes.io/service-account-token"}""", "metadata.annotations[kubernetes.io/service-account.name]: Required value" },
        { "namespaces", """{"metadata":{"name":"sample"},"spec":{"finalizers":["x"]}}""", "spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified" },
        { "services", """{"spec":{"ports":null}}""", "spec.ports: Required value" },
        { "services", """{"spec":{"ports":[{"port":80},{"port":81}]}}""", "spec.ports[0].name: Required value; spec.ports[1].name: Required value" },
        { "services", """{"spec":{"ports":[{"name":"a","port":80},{"name":"b","port":80}]}}""", "spec.ports[1]: Duplicate value: core.ServicePort{Name:\"\", Protocol:\"TCP\", AppProtocol:(*string)(nil), Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}, NodePort:0}" },
        { "services", """{"spec":{"ports":[{"port":80,"nodePort":30080}]}}""", "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'" },
        { "services", """{"spec":{"ports":[{"port":0,"targetPort":"UP"}]}}""", "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive; spec.ports[0].targetPort: Invalid value: \"UP\": *" },
        { "services", """{"spec":{"type":"Both"}}""", "spec.type: Unsupported value: \"Both\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"" },
        { "services", """{"spec":{"type":"ExternalName"}}""", "spec.externalName: Required value" },
        { "services", """{"spec":{"type":"NodePort","clusterIP":"None"}}""", "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services" },
        { "services", """{"spec":{"clusterIP":"10.96"}}""", "spec.clusterIPs[0]: Invalid value: \"10.96\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)" },
        { "services", """{"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":90000}}}}""", "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400" },
        { "services", """{"spec":{"externalIPs":["127.0.0.1"]}}""", "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)" },
        { "replicationcontrollers", """{"spec":{"replicas":-1}}""", "spec.replicas: Invalid value: -1: must be greater than or equal to 0" },
        { "replicationcontrollers", """{"spec":{"selector":{"app":"other"}}}""", "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`" },
        { "replicationcontrollers", """{"spec":{"template":null}}""", "spec.selector: Required value; spec.template: Required value" },
        { "replicationcontrollers", """{"spec":{"template":{"spec":{"restartPolicy":"Never"}}}}""", "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"" },
        { "endpoints", """{"subsets":[{"addresses":[{"ip":"x"},{"ip":"127.0.0.1"}],"ports":[{"port":1},{"port":2}]},{}]}""", "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); subsets[0].addresses[1].ip: Invalid value: *; subsets[0].ports[0].name: Required value; subsets[0].ports[1].name: Required value; subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`" },
        { "endpointslices.discovery.k8s.io", """{"addressType":"IPX","endpoints":[{}]}""", "addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"; endpoints[0].addresses: Required value: must contain at least 1 address" },
        { "endpointslices.discovery.k8s.io", """{"endpoints":[{"addresses":["fd00::1"]}],"ports":[{"port":1},{"port":2}]}""", "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address; ports[1].name: Duplicate value: \"\"" },
        { "leases.coordination.k8s.io", """{"spec":{"leaseDurationSeconds":0}}""", "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0" },
        { "nodes", """{"spec":{"taints":[{"key":"k","effect":"Never"},{"key":"k"}],"podCIDRs":["x"]}}""", "spec.taints[0].effect: Unsupported value: \"Never\": *; spec.taints[1].effect: Required value; spec.podCIDRs[0]: Invalid value: \"x\": *" },
        { "events", """{"involvedObject":{"namespace":"other"}}""", "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace" },
        { "roles.rbac.authorization.k8s.io", """{"rules":[{},{"verbs":["get"],"nonResourceURLs":["/x"]}]}""", "rules[0].verbs: Required value: verbs must contain at least one value; rules[0].apiGroups: Required value: resource rules must supply at least one api group; rules[0].resources: Required value: resource rules must supply at least one resource; rules[1].nonResourceURLs: Invalid value: []string{\"/x\"}: namespaced rules cannot apply to non-resource URLs" },
        { "clusterroles.rbac.authorization.k8s.io", """{"aggregationRule":{}}""", "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil" },
        { "rolebindings.rbac.authorization.k8s.io", """{"roleRef":{"kind":"Toaster","name":""},"subjects":[{"kind":"Robot"},{"kind":"User","name":"u","apiGroup":"x"}]}""", "roleRef.kind: Unsupported value: \"Toaster\": supported values: \"ClusterRole\", \"Role\"; roleRef.name: Required value; subjects[0].name: Required value; subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"; subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"" },
        { "clusterrolebindings.rbac.authorization.k8s.io", """{"subjects":[{"kind":"ServiceAccount","name":"s"}]}""", "subjects[0].namespace: Required value" },
    };

    [Theory, MemberData(nameof(Others))]
    public void Kind(string resource, string patch, string expected) => Check(resource, patch, expected);

    public static TheoryData<string, string, string, string> Updates => new()
    {
        { "configmaps", """{"immutable":true}""", """{"data":{"k":"w"}}""", "data: Forbidden: field is immutable when `immutable` is set" },
        { "configmaps", """{"immutable":true}""", """{"immutable":null}""", "immutable: Forbidden: field is immutable when `immutable` is set" },
        { "secrets", "{}", """{"type":"x"}""", "type: Invalid value: \"x\": field is immutable" },
        { "endpointslices.discovery.k8s.io", "{}", """{"addressType":"FQDN"}""", "*addressType: Invalid value: \"FQDN\": field is immutable" },
        { "rolebindings.rbac.authorization.k8s.io", "{}", """{"roleRef":{"name":"q"}}""", "roleRef: Invalid value: rbac.RoleRef{APIGroup:\"rbac.authorization.k8s.io\", Kind:\"Role\", Name:\"q\"}: cannot change roleRef" },
        { "pods", "{}", """{"spec":{"containers":[{"name":"c","image":"web:2"}]}}""", "" },
        { "pods", "{}", """{"spec":{"activeDeadlineSeconds":5,"tolerations":[{"key":"a","operator":"Exists"}]}}""", "" },
        { "pods", """{"spec":{"activeDeadlineSeconds":5}}""", """{"spec":{"activeDeadlineSeconds":6}}""", "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value" },
        { "pods", """{"spec":{"activeDeadlineSeconds":5}}""", """{"spec":{"activeDeadlineSeconds":null}}""", "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value" },
        { "pods", """{"spec":{"tolerations":[{"key":"a","operator":"Exists"}]}}""", """{"spec":{"tolerations":null}}""", "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds" },
        { "pods", "{}", """{"spec":{"containers":[{"name":"c","image":"i"},{"name":"d","image":"i"}]}}""", "spec.containers: Forbidden: pod updates may not add or remove containers" },
        { "pods", "{}", """{"spec":{"nodeName":"n"}}""", "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n- nodeName: (none)\n+ nodeName: \"n\"" },
        { "pods", """{"spec":{"schedulingGates":[{"name":"a"}]}}""", """{"spec":{"schedulingGates":null,"nodeSelector":{"x":"y"}}}""", "" },
        { "pods", """{"spec":{"schedulingGates":[{"name":"a"}]}}""", """{"spec":{"schedulingGates":[{"name":"a"},{"name":"b"}]}}""", "spec.schedulingGates[1]: Forbidden: only deletion is allowed, but found new scheduling gate 'b'" },
        { "nodes", """{"spec":{"podCIDR":"10.1.0.0/24","podCIDRs":["10.1.0.0/24"]}}""", """{"spec":{"podCIDR":"10.2.0.0/24","podCIDRs":["10.2.0.0/24"]}}""", "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid" },
        { "services", """{"spec":{"clusterIP":"None"}}""", """{"spec":{"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"]}}""", "spec.clusterIPs[0]: Invalid value: []string{\"10.96.0.1\"}: may not change once set" },
    };

    [Theory, MemberData(nameof(Updates))]
    public void Update(string resource, string first, string then, string expected)
    {
        var definition = Registry.Get(resource);
        var stored = SampleObjects.Stored(definition, JsonMergePatch.Apply(SampleObjects.Make(definition), (JsonObject)JsonNode.Parse(first)!));
        var changed = JsonMergePatch.Apply(stored, (JsonObject)JsonNode.Parse(then)!);
        AssertErrors(expected, SampleObjects.Update(definition, changed, stored).Error);
    }

    [Fact]
    public void Big_maps_are_refused_without_showing_them()
    {
        var definition = Registry.Get("configmaps");
        var obj = SampleObjects.Make(definition);
        obj["data"]!["k"] = new string('x', KeyedData.MaxBytes + 1);
        AssertErrors("[]: Too long: may not be more than 1048576 bytes", SampleObjects.Create(definition, obj).Error);
    }

    [Theory]
    [InlineData("pods", "Sample", "metadata.name: Invalid value: \"Sample\": a lowercase RFC 1123 subdomain must*")]
    [InlineData("namespaces", "a.b", "metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label must*")]
    [InlineData("services", "1a", "metadata.name: Invalid value: \"1a\": a DNS-1035 label must*")]
    [InlineData("roles.rbac.authorization.k8s.io", "system:a", "")]
    [InlineData("roles.rbac.authorization.k8s.io", "a%b", "metadata.name: Invalid value: \"a%b\": may not contain '%'")]
    public void Names(string resource, string name, string expected)
    {
        var definition = Registry.Get(resource);
        var obj = SampleObjects.Make(definition);
        obj["metadata"]!["name"] = name;
        var context = SampleObjects.Context(definition, name);
        var prepared = ObjectPipeline.PrepareCreate(obj, context, Guid.Empty);
        Assert.Null(prepared.Error);
        AssertErrors(expected, ObjectPipeline.FinishCreate(prepared.Object!, context).Error);
    }

    [Fact]
    public void The_status_has_the_shape_that_clients_print()
    {
        var definition = Registry.Get("rolebindings.rbac.authorization.k8s.io");
        var obj = SampleObjects.Make(definition);
        obj["roleRef"]!["name"] = "";
        var status = SampleObjects.Create(definition, obj).Error!.ToJson();
        Assert.Equal(
            """{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"RoleBinding.rbac.authorization.k8s.io \"sample\" is invalid: roleRef.name: Required value","reason":"Invalid","details":{"name":"sample","group":"rbac.authorization.k8s.io","kind":"RoleBinding","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"roleRef.name"}]},"code":422}""",
            Encoding.UTF8.GetString(CanonicalJson.SerializeNode(status)));
    }

    private static void Check(string resource, string patch, string expected)
    {
        var definition = Registry.Get(resource);
        var obj = JsonMergePatch.Apply(SampleObjects.Make(definition), (JsonObject)JsonNode.Parse(patch)!);
        AssertErrors(expected, SampleObjects.Create(definition, obj).Error);
    }

    // Expected errors are joined by "; "; a star stands for any text.
    private static void AssertErrors(string expected, StatusError? error)
    {
        var actual = string.Join("; ", error?.Causes.Select(c => $"{c.Field}: {c.Message}") ?? []);
        if (expected.Length == 0)
        {
            Assert.Null(error);
            return;
        }
        Assert.Equal(422, error?.Code);
        var pattern = "^" + System.Text.RegularExpressions.Regex.Escape(expected).Replace("\\*", ".*", StringComparison.Ordinal) + "$";
        var literal = expected == actual;
        Assert.True(literal || System.Text.RegularExpressions.Regex.IsMatch(actual, pattern, System.Text.RegularExpressions.RegexOptions.Singleline, TimeSpan.FromSeconds(1)),
            $"expected: {expected}\nactual:   {actual}");
    }
}
