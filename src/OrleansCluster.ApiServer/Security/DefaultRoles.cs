using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer;

/// <summary>
/// The roles and bindings every cluster starts with, under the names and with the rights users and charts rely on (wire contract, section 20).
/// </summary>
internal static class DefaultRoles
{
    /// <summary>Marks objects made by the server itself.</summary>
    public const string BootstrapLabel = "kubernetes.io/bootstrapping";

    /// <summary>`"true"`: rules that a role lacks are added again at every start.</summary>
    public const string AutoUpdateAnnotation = "rbac.authorization.kubernetes.io/autoupdate";

    private const string Read = "get,list,watch";
    private const string Write = "create,delete,deletecollection,patch,update";
    private const string All = "create,delete,deletecollection,get,list,patch,update,watch";
    private const string Workloads = "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status";
    private const string Batch = "cronjobs,cronjobs/status,jobs,jobs/status";

    /// <summary>The rules of `cluster-admin`.</summary>
    public static IReadOnlyList<PolicyRule> Everything { get; } =
    [
        new() { Verbs = ["*"], ApiGroups = ["*"], Resources = ["*"] },
        new() { Verbs = ["*"], NonResourceUrls = ["*"] },
    ];

    /// <summary>The ClusterRoles, aggregated ones with the union of their parts.</summary>
    public static IReadOnlyList<JsonObject> ClusterRoles()
    {
        PolicyRule[] view =
        [
            R("", "configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,replicationcontrollers/status,serviceaccounts,services,services/status,bindings,events,limitranges,namespaces/status,pods/log,pods/status,resourcequotas,resourcequotas/status,namespaces", Read),
            R("discovery.k8s.io", "endpointslices", Read),
            R("apps", Workloads, Read),
            R("autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status", Read),
            R("batch", Batch, Read),
            R("policy", "poddisruptionbudgets,poddisruptionbudgets/status", Read),
            R("networking.k8s.io", "ingresses,ingresses/status,networkpolicies", Read),
        ];
        PolicyRule[] edit =
        [
            R("", "pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy", Read),
            R("", "serviceaccounts", "impersonate"),
            R("", "pods,pods/attach,pods/exec,pods/portforward,pods/proxy", Write),
            R("", "pods/eviction", "create"),
            R("", "configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy,events", Write),
            R("", "serviceaccounts/token", "create"),
            R("apps", "daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale", Write),
            R("autoscaling", "horizontalpodautoscalers", Write),
            R("batch", "cronjobs,jobs", Write),
            R("policy", "poddisruptionbudgets", Write),
            R("networking.k8s.io", "ingresses,networkpolicies", Write),
            R("coordination.k8s.io", "leases", All),
        ];
        PolicyRule[] admin =
        [
            R("authorization.k8s.io", "localsubjectaccessreviews", "create"),
            R("rbac.authorization.k8s.io", "rolebindings,roles", All),
        ];
        return
        [
            Role("cluster-admin", Everything),
            Role("system:discovery", [N("/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/", "get")]),
            Role("system:basic-user",
                R("authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews", "create"),
                R("authentication.k8s.io", "selfsubjectreviews", "create")),
            Role("system:public-info-viewer", [N("/healthz,/livez,/readyz,/version,/version/", "get")]),
            Role("system:monitoring", [N("/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*", "get")]),
            Aggregate("admin", "admin", [.. admin, .. edit, .. view]),
            Aggregate("edit", "edit", [.. edit, .. view]),
            Aggregate("view", "view", view),
            Part("system:aggregate-to-admin", "admin", admin),
            Part("system:aggregate-to-edit", "edit", edit),
            Part("system:aggregate-to-view", "view", view),
            Role("system:node",
                R("authentication.k8s.io", "tokenreviews", "create"),
                R("authorization.k8s.io", "localsubjectaccessreviews,subjectaccessreviews", "create"),
                R("", "services", Read),
                R("", "nodes", "create,get,list,watch"),
                R("", "nodes/status", "patch,update"),
                R("", "nodes", "patch,update"),
                R("", "pods", Read),
                R("", "pods", "create,delete"),
                R("", "pods/status", "patch,update"),
                R("", "pods/eviction", "create"),
                R("", "configmaps,secrets", Read),
                R("", "persistentvolumeclaims,persistentvolumes", "get"),
                R("", "endpoints", "get"),
                R("", "serviceaccounts/token", "create"),
                R("", "events", "create,patch,update"),
                R("certificates.k8s.io", "certificatesigningrequests", "create,get,list,watch"),
                R("coordination.k8s.io", "leases", "create,delete,get,patch,update"),
                R("node.k8s.io", "runtimeclasses", Read),
                R("storage.k8s.io", "csinodes", "create,delete,get,patch,update")),
            Role("system:node-proxier",
                R("", "endpoints,services", "list,watch"),
                R("", "nodes", Read),
                R(",events.k8s.io", "events", "create,patch,update"),
                R("discovery.k8s.io", "endpointslices", "list,watch")),
            Role("system:kubelet-api-admin",
                R("", "nodes", "get,list,watch,proxy"),
                R("", "nodes/log,nodes/metrics,nodes/proxy,nodes/stats", "*")),
            Role("system:auth-delegator",
                R("authentication.k8s.io", "tokenreviews", "create"),
                R("authorization.k8s.io", "subjectaccessreviews", "create")),
            Role("system:kube-dns", R("", "endpoints,services", "list,watch"), R("discovery.k8s.io", "endpointslices", "list,watch")),
            Role("system:kube-scheduler",
                R(",events.k8s.io", "events", "create,patch,update"),
                R("coordination.k8s.io", "leases", "create,get,list,update,watch"),
                R("", "nodes", Read),
                R("", "pods", "delete,get,list,watch"),
                R("", "bindings,pods/binding", "create"),
                R("", "pods/status", "patch,update"),
                R("", "replicationcontrollers,services,namespaces,persistentvolumeclaims,persistentvolumes", Read),
                R("apps", "replicasets,statefulsets", Read),
                R("policy", "poddisruptionbudgets", Read),
                R("storage.k8s.io", "csidrivers,csinodes,csistoragecapacities,storageclasses", Read)),
            Role("system:kube-controller-manager",
                R(",events.k8s.io", "events", "create,patch,update"),
                R("coordination.k8s.io", "leases", "create,get,list,update,watch"),
                R("", "secrets,serviceaccounts", "create,delete,get,update"),
                R("", "serviceaccounts/token", "create"),
                R("authentication.k8s.io", "tokenreviews", "create"),
                R("authorization.k8s.io", "subjectaccessreviews", "create"),
                R("*", "*", "list,watch")),
            Role("system:service-account-issuer-discovery", [N("/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/", "get")]),
        ];
    }

    /// <summary>The ClusterRoleBindings.</summary>
    public static IReadOnlyList<JsonObject> ClusterRoleBindings() =>
    [
        Binding("cluster-admin", "cluster-admin", Group("system:masters")),
        Binding("system:discovery", "system:discovery", Group("system:authenticated")),
        Binding("system:basic-user", "system:basic-user", Group("system:authenticated")),
        Binding("system:public-info-viewer", "system:public-info-viewer", Group("system:authenticated"), Group("system:unauthenticated")),
        Binding("system:monitoring", "system:monitoring", Group("system:monitoring")),
        Binding("system:node-proxier", "system:node-proxier", User("system:kube-proxy")),
        Binding("system:kube-scheduler", "system:kube-scheduler", User("system:kube-scheduler")),
        Binding("system:kube-controller-manager", "system:kube-controller-manager", User("system:kube-controller-manager")),
        Binding("system:kube-dns", "system:kube-dns", Account("kube-system", "kube-dns")),
        Binding("system:service-account-issuer-discovery", "system:service-account-issuer-discovery", Group("system:serviceaccounts")),
        Binding("system:node", "system:node"),
    ];

    private static PolicyRule R(string groups, string resources, string verbs) =>
        new() { ApiGroups = groups.Split(','), Resources = resources.Split(','), Verbs = verbs.Split(',') };

    private static PolicyRule N(string urls, string verbs) => new() { NonResourceUrls = urls.Split(','), Verbs = verbs.Split(',') };

    private static JsonObject Role(string name, params IReadOnlyList<PolicyRule> rules) => Make("ClusterRole", name, rules);

    private static JsonObject Aggregate(string name, string part, params IReadOnlyList<PolicyRule> rules)
    {
        var role = Make("ClusterRole", name, rules);
        role["aggregationRule"] = new JsonObject
        {
            ["clusterRoleSelectors"] = new JsonArray(new JsonObject
            {
                ["matchLabels"] = new JsonObject { [$"rbac.authorization.k8s.io/aggregate-to-{part}"] = "true" },
            }),
        };
        // `edit` is part of `admin`, `view` of `edit`: their own labels say so.
        if (name == "edit")
            Labels(role)["rbac.authorization.k8s.io/aggregate-to-admin"] = "true";
        if (name == "view")
            Labels(role)["rbac.authorization.k8s.io/aggregate-to-edit"] = "true";
        return role;
    }

    private static JsonObject Part(string name, string of, params IReadOnlyList<PolicyRule> rules)
    {
        var role = Make("ClusterRole", name, rules);
        Labels(role)[$"rbac.authorization.k8s.io/aggregate-to-{of}"] = "true";
        return role;
    }

    private static JsonObject Labels(JsonObject role) => (JsonObject)role["metadata"]!["labels"]!;

    private static JsonObject Make(string kind, string name, IReadOnlyList<PolicyRule>? rules)
    {
        var obj = new JsonObject
        {
            ["kind"] = kind,
            ["apiVersion"] = "rbac.authorization.k8s.io/v1",
            ["metadata"] = new JsonObject
            {
                ["name"] = name,
                ["labels"] = new JsonObject { [BootstrapLabel] = "rbac-defaults" },
                ["annotations"] = new JsonObject { [AutoUpdateAnnotation] = "true" },
            },
        };
        if (rules is not null)
            obj["rules"] = new JsonArray([.. rules.Select(r => (JsonNode)r.ToJson())]);
        return obj;
    }

    private static JsonObject Binding(string name, string role, params JsonObject[] subjects)
    {
        var binding = Make("ClusterRoleBinding", name, null);
        if (subjects.Length > 0)
            binding["subjects"] = new JsonArray([.. subjects]);
        binding["roleRef"] = new JsonObject { ["apiGroup"] = "rbac.authorization.k8s.io", ["kind"] = "ClusterRole", ["name"] = role };
        return binding;
    }

    private static JsonObject Group(string name) => new() { ["kind"] = "Group", ["apiGroup"] = "rbac.authorization.k8s.io", ["name"] = name };

    private static JsonObject User(string name) => new() { ["kind"] = "User", ["apiGroup"] = "rbac.authorization.k8s.io", ["name"] = name };

    private static JsonObject Account(string @namespace, string name) =>
        new() { ["kind"] = "ServiceAccount", ["name"] = name, ["namespace"] = @namespace };
}
