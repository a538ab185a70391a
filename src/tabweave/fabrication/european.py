"""The Spanish, German and French sentences of the demo threads."""

from __future__ import annotations

from tabweave.fabrication.phrases import Phrases

SPANISH = Phrases(
    openings=(
        "Hola, tengo una pregunta sobre mi pedido.",
        "Buenos días, soy {name} y compré en su tienda la semana pasada.",
        "Hola, le escribo por el artículo que pedí.",
    ),
    exchanges=(
        (
            "¿Cuándo sale el paquete?",
            "Sale mañana del almacén & llega a {city} en pocos días.",
        ),
        (
            "¿Puedo cambiar el color del artículo?",
            "Sí, ya he cambiado el color en su pedido, no hay problema.",
        ),
        (
            "Necesito una factura con el nombre de mi empresa.",
            "Puede descargar la factura en la página del pedido.",
        ),
        (
            "El artículo llegó con un pequeño arañazo.",
            "Lo siento mucho. ¿Prefiere una devolución parcial o uno nuevo?",
        ),
        (
            "¿Hay descuento si compro varios?",
            "Por tres piezas le ofrezco un {percent} por ciento de descuento.",
        ),
        (
            "¿Tiene garantía este producto?",
            "Tiene dos años de garantía, el papel está dentro de la caja.",
        ),
        (
            "¿Cómo puedo devolver el producto si no me gusta?",
            "Tiene treinta días para devolverlo, la etiqueta está en la caja.",
        ),
    ),
    closings=("¡Muchas gracias!", "Un saludo, {name}", "Perfecto, gracias por todo."),
    requests={
        "pay_outside": (
            "Si paga fuera del sitio por transferencia es {percent} por ciento menos.",
            "Cancele el pedido aquí y envíe el dinero directamente a mi cuenta.",
            "Mejor me paga directamente por transferencia, sin el sitio.",
        ),
        "gift_card": (
            "Compre una tarjeta regalo y envíeme los números de atrás.",
            "Para la aduana necesito una tarjeta regalo, mande una foto.",
            "Puede pagar el resto con una tarjeta regalo, envíeme los números.",
        ),
        "link": (
            "Su cuenta está bloqueada, entre en {link} y confirme su tarjeta.",
            "Abra {link} y escriba sus datos del banco para el reembolso.",
            "Pague la pequeña tasa en {link} hoy mismo.",
        ),
        "code": (
            "Envíeme el código de verificación que recibió en su teléfono.",
            "Necesito el código del mensaje para confirmar el pedido.",
            "Dígame el código que acaba de recibir, por favor.",
        ),
        "messenger": (
            "Sigamos por {app}, mi número es {phone}.",
            "Escríbame por {app}, contesto más rápido: {phone}",
            "Mejor hablamos por {app}, {phone}.",
        ),
        "not_arrived": (
            "El paquete nunca llegó y quiero mi dinero ya.",
            "No he recibido nada, quiero el reembolso completo.",
            "Mi pedido nunca llegó, devuélvame todo el dinero.",
        ),
    },
    mentions={
        "pay_outside": (
            "No quiero pagar fuera del sitio, siempre pago aquí.",
            "Por favor pague solo en el sitio, no por transferencia directa.",
        ),
        "gift_card": (
            "Por favor no pague con tarjeta regalo, nunca la pedimos.",
            "¿Puedo usar mi tarjeta regalo de la tienda al pagar?",
        ),
        "link": (
            "Puede seguir el paquete en {official}, sin contraseña.",
            "Recibí un enlace a {link} y no lo abrí, ¿es suyo?",
        ),
        "code": (
            "Nunca envíe un código de verificación a nadie, tampoco a nosotros.",
            "¿Qué código de descuento puedo usar?",
        ),
        "messenger": (
            "Prefiero escribir aquí, no uso {app}.",
            "Nuestra tienda no tiene cuenta de {app}.",
        ),
        "not_arrived": (
            "Pensé que nunca llegó, pero lo tenía mi vecina. ¡Todo bien!",
            "Ya llegó, no hace falta ningún reembolso.",
        ),
    },
)

GERMAN = Phrases(
    openings=(
        "Hallo, ich habe eine Frage zu meiner Bestellung.",
        "Guten Tag, hier ist {name}. Ich habe letzte Woche bei Ihnen bestellt.",
        "Hallo, es geht um den Artikel aus Ihrem Shop.",
    ),
    exchanges=(
        (
            "Wann wird das Paket verschickt?",
            "Es geht morgen raus & ist in wenigen Tagen in {city}.",
        ),
        (
            "Kann ich die Farbe noch ändern?",
            "Ja, ich habe die Farbe in Ihrer Bestellung schon geändert.",
        ),
        (
            "Ich brauche eine Rechnung mit meiner Firma.",
            "Die Rechnung können Sie auf der Bestellseite herunterladen.",
        ),
        (
            "Der Artikel kam mit einem kleinen Kratzer an.",
            "Das tut mir leid. Möchten Sie einen Teil zurück oder einen neuen?",
        ),
        (
            "Gibt es Rabatt, wenn ich mehrere nehme?",
            "Bei drei Stück biete ich Ihnen {percent} Prozent Rabatt an.",
        ),
        (
            "Wie lange habe ich Garantie?",
            "Zwei Jahre, das Papier liegt in der Schachtel.",
        ),
        (
            "Kann ich den Artikel zurückgeben, wenn er nicht passt?",
            "Sie haben dreißig Tage Zeit, das Etikett liegt im Paket.",
        ),
    ),
    closings=("Vielen Dank!", "Viele Grüße, {name}", "Super, danke für die Hilfe."),
    requests={
        "pay_outside": (
            "Per Überweisung außerhalb der Seite wird es {percent} Prozent weniger.",
            "Bitte hier stornieren und das Geld direkt auf mein Konto senden.",
            "Lieber direkt per Überweisung zahlen, ohne die Seite.",
        ),
        "gift_card": (
            "Kaufen Sie bitte eine Geschenkkarte und senden Sie mir die Nummern.",
            "Für den Zoll brauche ich eine Geschenkkarte, bitte ein Foto senden.",
            "Den Rest zahlen Sie mit einer Geschenkkarte, ich brauche die Nummern.",
        ),
        "link": (
            "Ihr Konto ist gesperrt, bitte unter {link} die Karte bestätigen.",
            "Öffnen Sie {link} und geben Sie für die Erstattung Ihre Bankdaten ein.",
            "Bitte zahlen Sie heute die kleine Gebühr unter {link}.",
        ),
        "code": (
            "Bitte senden Sie mir den Bestätigungscode von Ihrem Handy.",
            "Ich brauche den Code aus der SMS, um die Bestellung zu bestätigen.",
            "Nennen Sie mir den Code, den Sie gerade bekommen haben.",
        ),
        "messenger": (
            "Schreiben wir auf {app} weiter, meine Nummer ist {phone}.",
            "Bitte melden Sie sich auf {app}, da antworte ich schneller: {phone}",
            "Lieber über {app}, {phone}.",
        ),
        "not_arrived": (
            "Das Paket ist nie angekommen, ich will mein Geld zurück.",
            "Ich habe nichts erhalten und will die volle Erstattung.",
            "Meine Bestellung kam nie an, bitte alles erstatten.",
        ),
    },
    mentions={
        "pay_outside": (
            "Ich zahle nicht außerhalb der Seite, immer nur hier.",
            "Bitte zahlen Sie nur auf der Seite, nicht direkt per Überweisung.",
        ),
        "gift_card": (
            "Bitte nicht mit Geschenkkarte zahlen, wir fragen nie nach Nummern.",
            "Kann ich meine Geschenkkarte an der Kasse einlösen?",
        ),
        "link": (
            "Sie können das Paket auf {official} verfolgen, ohne Passwort.",
            "Ich bekam einen Link zu {link} und habe ihn nicht geöffnet.",
        ),
        "code": (
            "Senden Sie nie jemandem einen Bestätigungscode, auch uns nicht.",
            "Welcher Code gilt für den Rabatt?",
        ),
        "messenger": (
            "Ich schreibe lieber hier, {app} nutze ich nicht.",
            "Unser Shop hat kein {app} Konto.",
        ),
        "not_arrived": (
            "Ich dachte, es ist nie angekommen, aber der Nachbar hatte es.",
            "Es ist heute angekommen, keine Erstattung nötig.",
        ),
    },
)

FRENCH = Phrases(
    openings=(
        "Bonjour, j'ai une question sur ma commande.",
        "Bonjour, c'est {name}. J'ai acheté chez vous la semaine dernière.",
        "Bonjour, je vous écris pour l'article commandé.",
    ),
    exchanges=(
        (
            "Quand partira le colis ?",
            "Il part demain & arrive à {city} dans quelques jours.",
        ),
        (
            "Puis-je encore changer la couleur ?",
            "Oui, j'ai déjà changé la couleur de votre commande.",
        ),
        (
            "J'ai besoin d'une facture au nom de ma société.",
            "Vous pouvez télécharger la facture sur la page de la commande.",
        ),
        (
            "L'article est arrivé avec une petite rayure.",
            "Je suis désolé. Préférez-vous une remise ou un article neuf ?",
        ),
        (
            "Y a-t-il une remise si j'en prends plusieurs ?",
            "Pour trois pièces je vous offre {percent} pour cent de remise.",
        ),
        (
            "Quelle est la garantie de ce produit ?",
            "Deux ans de garantie, le papier est dans la boîte.",
        ),
        (
            "Comment renvoyer l'article s'il ne va pas ?",
            "Vous avez trente jours, l'étiquette est dans le colis.",
        ),
    ),
    closings=("Merci beaucoup !", "Cordialement, {name}", "Parfait, merci pour tout."),
    requests={
        "pay_outside": (
            "Payez par virement hors du site, c'est {percent} pour cent de moins.",
            "Annulez ici et envoyez l'argent directement sur mon compte.",
            "Payez-moi plutôt directement par virement, sans le site.",
        ),
        "gift_card": (
            "Achetez une carte cadeau et envoyez-moi les numéros.",
            "Pour la douane il me faut une carte cadeau, envoyez une photo.",
            "Payez le reste avec une carte cadeau, envoyez les numéros.",
        ),
        "link": (
            "Votre compte est bloqué, confirmez votre carte sur {link}.",
            "Ouvrez {link} et donnez vos coordonnées bancaires pour le remboursement.",
            "Merci de payer les petits frais sur {link} aujourd'hui.",
        ),
        "code": (
            "Envoyez-moi le code de vérification reçu sur votre téléphone.",
            "Il me faut le code du message pour confirmer la commande.",
            "Donnez-moi le code que vous venez de recevoir.",
        ),
        "messenger": (
            "Continuons sur {app}, mon numéro est {phone}.",
            "Écrivez-moi sur {app}, je réponds plus vite : {phone}",
            "Parlons plutôt sur {app}, {phone}.",
        ),
        "not_arrived": (
            "Le colis n'est jamais arrivé, je veux mon argent.",
            "Je n'ai rien reçu, je veux un remboursement complet.",
            "Ma commande n'est jamais arrivée, remboursez tout.",
        ),
    },
    mentions={
        "pay_outside": (
            "Je ne paie pas hors du site, toujours ici.",
            "Merci de payer seulement sur le site, pas par virement direct.",
        ),
        "gift_card": (
            "Ne payez pas par carte cadeau, nous ne demandons jamais les numéros.",
            "Puis-je utiliser ma carte cadeau au moment de payer ?",
        ),
        "link": (
            "Vous pouvez suivre le colis sur {official}, sans mot de passe.",
            "J'ai reçu un lien vers {link} et je ne l'ai pas ouvert.",
        ),
        "code": (
            "N'envoyez jamais un code de vérification, même pas à nous.",
            "Quel code donne droit à la remise ?",
        ),
        "messenger": (
            "Je préfère écrire ici, je n'utilise pas {app}.",
            "Notre boutique n'a pas de compte {app}.",
        ),
        "not_arrived": (
            "Je croyais qu'il n'était jamais arrivé, mais le voisin l'avait.",
            "Il est arrivé, pas besoin de remboursement.",
        ),
    },
)
